"""`metier train --emit`: jobs for clusters, whose command is the one that trains here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metier.tests.conftest import Run


def emitted(run: Run, office: Path, file: Path, *words: str) -> dict[str, Any]:
    done = run("train", "-t", office, "--emit", file, *words)
    assert done.code == 0, done.err
    assert f"kubectl create -f {file}" in done.out
    return YAML(typ="safe", pure=True).load(file.read_text())


def test_a_job_of_kubernetes(run, office, tmp_path):
    job = emitted(run, office, tmp_path / "job.yaml", "helpdesk", "--minutes", "7.5", "--seed", "3", "--gpus", "1",
                  "--image", "registry.example/metier:1", "--claim", "shared")  # fmt: skip
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["generateName"].startswith("metier-train-")
    assert job["spec"]["activeDeadlineSeconds"] == 450 + 1800
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "OnFailure", "a killed training goes on"
    assert container["image"] == "registry.example/metier:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["persistentVolumeClaim"] == {"claimName": "shared"}
    assert {e["name"]: e["value"] for e in container["env"]} == {"METIER_HOME": f"{mount['mountPath']}/models"}
    words = container["command"]
    assert words == ["metier", "train", "helpdesk", "-t", f"{mount['mountPath']}/team", "--method", "lora",
                     "--minutes", "7.5", "--seed", "3"]  # fmt: skip
    assert all(isinstance(word, str) for word in words)


def test_a_job_of_ray_is_the_same_recipe(run, office, tmp_path):
    plain = emitted(run, office, tmp_path / "job.yaml", "--method", "dora")
    ray = emitted(run, office, tmp_path / "ray.yaml", "--method", "dora", "--on", "ray", "--gpus", "2")
    assert (ray["apiVersion"], ray["kind"]) == ("ray.io/v1", "RayJob")
    assert shlex.split(ray["spec"]["entrypoint"]) == plain["spec"]["template"]["spec"]["containers"][0]["command"]
    assert ray["spec"]["entrypointNumGpus"] == 2
    assert ray["spec"]["shutdownAfterJobFinishes"] is True
    head = ray["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"] == {}
    assert head["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2


def test_the_command_of_a_job_is_understood_here(run, office, tmp_path):
    """As the cluster would run it, with the team where it is here, and nothing trained."""
    job = emitted(run, office, tmp_path / "job.yaml")
    _, *words = job["spec"]["template"]["spec"]["containers"][0]["command"]
    here = [str(office) if word == "/metier/team" else word for word in words]
    done = run(*here, "--dry-run")
    assert done.code == 0, done.err
    counts = dict(line.split(": ") for line in done.out.strip().splitlines())
    assert set(counts) == {"helpdesk", "travel"}
    assert all(int(count.split()[0]) > 0 for count in counts.values())
    assert not list((office / "registry").glob("*")) if (office / "registry").exists() else True


@pytest.mark.parametrize(
    ("words", "said"), [(["nobody"], "nobody"), (["--method", "magic"], "magic"), (["--on", "x"], "x")]
)
def test_what_cannot_be_trained_is_refused_before_a_job_is_written(run, office, tmp_path, words, said):
    done = run("train", "-t", office, "--emit", tmp_path / "job.yaml", *words)
    assert done.code != 0
    assert said in done.err
    assert not (tmp_path / "job.yaml").exists()
