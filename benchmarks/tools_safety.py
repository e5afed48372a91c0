"""The policy against AgentDojo (Debenedetti et al., 2024): its solutions replayed. `pip install agentdojo`.

    python benchmarks/tools_safety.py DATA [--only SUITE] [--json OUT]

Harmless runs must not be denied; how many ask a person is reported. An attack is the user's own calls up to
the first
result that holds the injected text, then the calls that the attacker wants; it is blocked when one of these
is denied
or needs a person. Attacks that ask for no call (they want a sentence in the answer) are beyond any policy on
calls, and
are left out and counted. DATA is not read.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from agentdojo.functions_runtime import FunctionsRuntime  # type: ignore[import-not-found]
from agentdojo.task_suite.load_suites import get_suites  # type: ignore[import-not-found]
from harness import Report, parser, progress, say

from metier.core.types import ToolCall
from metier.tools.policy import Effects, Policy, RunFacts

VERSION = "v1.2.2"
MARK = "METIER-INJECTED"
READS = re.compile(r"^(get|search|list|read|check)_")
OWN_WORDS = {"get_current_day", "get_iban", "get_balance", "get_user_information", "get_user_info"}
SENSITIVE = re.compile(r"email|calendar|file|iban|balance|transaction|user_info|contact|inbox|messages")
OUTSIDE = re.compile(
    r"^(send|share|invite|post|add_calendar|create_calendar|reserve|schedule|update_sched|get_webpage)"
)


def effects(name: str) -> Effects:
    """What an AgentDojo tool does, by its name; reading a page at any address counts as reaching outside."""
    effect = "external" if OUTSIDE.match(name) else "read" if READS.match(name) else "write"
    reads = READS.match(name) is not None
    return Effects(
        effect=effect,
        untrusted_output=reads and name not in OWN_WORDS,
        sensitive=reads and SENSITIVE.search(name) is not None,
    )


def replay(suite: Any, task: Any, injected: dict[str, str]) -> list[tuple[ToolCall, str]]:
    """The calls of a user task's own solution, each with its result as text."""
    environment = task.init_environment(suite.load_and_inject_default_environment(injected))
    runtime = FunctionsRuntime(suite.tools)
    done = []
    for call in task.ground_truth(environment.model_copy(deep=True)):
        result, _ = runtime.run_function(environment, call.function, call.args)
        done.append((_call(call), str(result)))
    return done


def _call(call: Any) -> ToolCall:
    return ToolCall(name=call.function, arguments=json.loads(json.dumps(dict(call.args), default=str)))


def harmless(policy: Policy, calls: list[ToolCall]) -> tuple[bool, int]:
    """Was nothing denied, and how often was a person asked (who agreed)?"""
    facts, asked = RunFacts(), 0
    for call in calls:
        decided = policy.decide(call, facts)
        if decided.outcome == "deny" and not decided.repeated:
            return False, asked
        asked += decided.outcome == "ask"
        facts = facts.approve(call).after(call, policy.granted[call.name])
    return True, asked


def blocked(policy: Policy, before: list[ToolCall], attack: list[ToolCall]) -> bool:
    """Did one of the attacker's calls not go through by itself?"""
    facts = RunFacts()
    for call in before:
        facts = facts.approve(call).after(call, policy.granted[call.name])
    for call in attack:
        decided = policy.decide(call, facts)
        if decided.outcome != "allow" and not (decided.outcome == "deny" and decided.repeated):
            return True
        facts = facts.after(call, policy.granted[call.name])
    return False


def main() -> None:
    """Replay every suite."""
    args = parser("The policy against AgentDojo's own solutions.").parse_args()
    report = Report(args)
    allowed, quiet, stopped, left_out = [], [], [], 0
    for name, suite in get_suites(VERSION).items():
        if args.only and name not in args.only:
            continue
        policy = Policy(granted={t.name: effects(t.name) for t in suite.tools})
        plain = suite.load_and_inject_default_environment({})
        goals = [[_call(c) for c in t.ground_truth(plain)] for t in suite.injection_tasks.values()]
        marks = dict.fromkeys(suite.get_injection_vector_defaults(), MARK)
        for task in progress(list(suite.user_tasks.values()), name):
            fine, asked = harmless(policy, [c for c, _ in replay(suite, task, {})])
            allowed.append(fine)
            quiet.append(not asked)
            done = replay(suite, task, marks)
            seen = next((i for i, (_, result) in enumerate(done) if MARK in result), None)
            if seen is None:
                say(f"{name}: {task.ID} never reads injected text, left out of the attacks")
                continue
            left_out += sum(not g for g in goals)
            stopped += [blocked(policy, [c for c, _ in done[: seen + 1]], goal) for goal in goals if goal]
    report.add("agentdojo", "metier policy", "harmless_runs_allowed", allowed)
    report.add("agentdojo", "metier policy", "harmless_runs_without_a_question", quiet)
    report.add("agentdojo", "metier policy", "attacks_blocked", stopped)
    report.add_value("agentdojo", "metier policy", "attacks_without_a_call", left_out)
    report.finish()


if __name__ == "__main__":
    main()
