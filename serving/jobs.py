"""Training as a job of a cluster: what `metier train` would do here, as YAML for Kubernetes or for Ray's operator.

The volume holds the team and the models; a job that is killed goes on where it was when it is started again.
"""

from __future__ import annotations

import io
import re
import shlex
from typing import Any, Literal, NamedTuple

from ruamel.yaml import YAML

from .._version import __version__

Cluster = Literal["kubernetes", "ray"]
"""`ray`: a RayJob of KubeRay, which makes a cluster for the job and takes it away afterwards."""

_VOLUME = "/metier"
_SLACK = 1800
"""Seconds beside the training steps: reading the models, the lessons, waiting for a node."""
_KEPT = 86_400
"""Seconds for which a job that has ended can be looked at."""


class TrainingCommand(NamedTuple):
    """What is trained, and how."""

    specialists: tuple[str, ...]
    """None: all."""
    method: str
    minutes: float
    seed: int

    @property
    def words(self) -> list[str]:
        """The command line that does it."""
        how = ["--method", self.method, "--minutes", f"{self.minutes:g}", "--seed", str(self.seed)]
        return ["metier", "train", *self.specialists, "-t", f"{_VOLUME}/team", *how]


def training_job(
    team: str, command: TrainingCommand, cluster: Cluster, *, image: str | None, claim: str, gpus: int
) -> str:
    """The job, as YAML.

    Args:
        team: Its name.
        image: Holds metier with the extra `train`, and Ray where that runs it.
        claim: A PersistentVolumeClaim with the folders `team` and `models`.
        gpus: How many; 0 trains on the CPU.
    """
    name = re.sub(r"[^a-z0-9-]+", "-", f"metier-train-{team}").strip("-")[:50]
    about = {"generateName": f"{name}-", "labels": {"app.kubernetes.io/name": "metier", "metier/team": team}}
    limit = {"activeDeadlineSeconds": int(command.minutes * 60) + _SLACK, "backoffLimit": 3}
    pod = _pod(image or f"metier:{__version__}", claim, gpus)
    job = (_ray if cluster == "ray" else _kubernetes)(command.words, pod, gpus, limit)
    written = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    yaml.dump({**job, "metadata": about}, written)
    return written.getvalue()


def _pod(image: str, claim: str, gpus: int) -> dict[str, Any]:
    cards = {"nvidia.com/gpu": gpus} if gpus else {}
    container = {
        "name": "train",
        "image": image,
        "env": [{"name": "METIER_HOME", "value": f"{_VOLUME}/models"}],
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi", **cards}},
        "volumeMounts": [{"name": "metier", "mountPath": _VOLUME}],
    }
    return {
        "restartPolicy": "OnFailure",
        "containers": [container],
        "volumes": [{"name": "metier", "persistentVolumeClaim": {"claimName": claim}}],
    }


def _kubernetes(words: list[str], pod: dict[str, Any], gpus: int, limit: dict[str, int]) -> dict[str, Any]:
    pod["containers"][0]["command"] = words
    spec = {**limit, "ttlSecondsAfterFinished": _KEPT, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}


def _ray(words: list[str], pod: dict[str, Any], gpus: int, limit: dict[str, int]) -> dict[str, Any]:
    del pod["restartPolicy"]  # Ray's own
    head = {"rayStartParams": {}, "template": {"spec": pod}}
    spec = {
        "entrypoint": shlex.join(words),
        "entrypointNumCpus": 2,
        **({"entrypointNumGpus": gpus} if gpus else {}),
        **limit,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": {"headGroupSpec": head},
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": spec}
