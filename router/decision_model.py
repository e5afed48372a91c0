"""The router as one of langchain-core's decision models (`langchain_core.decisions`, from 1.8 on).

With an older langchain-core, `choice_answer` gives the same fields as a dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import RouterError
from ..core.types import Route
from .edge import task_of
from .router import Router

if TYPE_CHECKING:
    from langchain_core.decisions import (  # pyright: ignore[reportMissingImports]
        BaseDecisionModel,
    )

NOBODY = "none_of_these"
"""The choice of a router that abstains or asks back."""


def choice_answer(route: Route) -> dict[str, Any]:
    """The fields of `ChoiceAnswer`: type, choice, probabilities (with `NOBODY`, summing to 1) and confidence."""
    chances = {name: round(chance, 6) for name, chance in route.probabilities.items()}
    chances[NOBODY] = round(max(0.0, 1 - sum(chances.values())), 6)
    return {
        "type": "choice",
        "choice": route.choice or NOBODY,
        "probabilities": chances,
        "confidence": min(1.0, max(0.0, route.confidence)),
    }


def decision_model(router: Router) -> BaseDecisionModel:
    """A `BaseDecisionModel` that answers `Choice` questions whose criteria are the router's specialists.

    Raises:
        RouterError: the installed langchain-core has no decision models yet.
    """
    try:
        from langchain_core.decisions import BaseDecisionModel, ClassifierResponse  # pyright: ignore
    except ImportError as error:
        raise RouterError(
            "this langchain-core has no decision models", hint="pip install 'langchain-core>=1.8', or use choice_answer"
        ) from error

    class RouterDecisionModel(BaseDecisionModel):
        model: str = f"metier-router-{router.fingerprint}"

        @property
        def _provider(self) -> str:
            return "metier"

        def _classify(self, state: Any, questions: dict[str, Any]) -> Any:
            text = state if isinstance(state, str) else task_of(state)
            answers = {}
            for name, question in questions.items():
                unknown = set(getattr(question, "criteria", {})) - {*router.names, NOBODY}
                if question.type != "choice" or unknown:
                    raise ValueError(f"question '{name}': only choices among {', '.join(router.names)} are answered")
                answers[name] = choice_answer(router.route(text))
            return ClassifierResponse.model_validate({"answers": answers, "model": self.model})

    return RouterDecisionModel()
