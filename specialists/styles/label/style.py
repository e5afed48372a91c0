"""Style `label`: one of the card's labels, by the model or by a classifier that the build found to do better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ...engines.engine import OneOf
from ...evaluation.measures import Scoring, label_columns, label_scores
from ...prompt import Shot, TrainingExample
from ...work import Draft, Work
from ..style import Examples, Learner, Opening, Style, lesson_prompt, passage_texts
from .classifier import LabelClassifier

LISTED = 20
"""Up to so many labels are shown in the prompt; more than that are learnt by an adapter, not read."""

SHARING = 4
"""Texts that share one list of labels in a lesson: the list is read once."""

Probabilities = Callable[[str], Mapping[str, float]]
"""From a task to the probability of each label."""


def label(work: Work) -> Draft:
    """The most probable label; `data` holds it for programs."""
    labels, classifier = work.card.labels, work.resources
    if classifier is not None:
        chances = classifier(work.brief.task)
        best = max(chances, key=chances.__getitem__)
        return Draft(text=best, found=True, data=best, probability=chances[best])
    reply = work.ask(work.prompt(system=listed_labels(labels)), OneOf(labels))
    return Draft(
        text=reply.text,
        found=reply.text in labels,
        data=reply.text,
        certainty=reply.certainty,
        probability=reply.options.get(reply.text),
    )


def listed_labels(labels: Sequence[str]) -> list[str]:
    """The line of the prompt that says which labels there are; none where they are too many to be read."""
    return ["Labels: " + "; ".join(labels)] if 0 < len(labels) <= LISTED else []


def open_classifier(opening: Opening) -> Probabilities | None:
    """The specialist's classifier; None leaves the label to the model.

    Raises:
        StateError: its file is damaged.
    """
    if opening.classifier is None:
        return None
    classifier = LabelClassifier.load(opening.classifier)
    return lambda task: classifier.probabilities([task], opening.embedder)[0]


def label_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Several texts in a prompt where no passages belong to them."""
    pairs = [pair for pair in examples.answered() if pair[1] in learner.card.labels]
    examples.dice.shuffle(pairs)
    size, system = 1 if learner.knowledge else SHARING, listed_labels(learner.card.labels)
    for at in range(0, len(pairs), size):
        *before, (task, answer) = pairs[at : at + size]
        texts, shots = passage_texts(learner, task), [Shot(*pair) for pair in before]
        yield TrainingExample(lesson_prompt(learner, task, texts, system=system, shots=shots), answer)


LABEL = Style(
    "label",
    label,
    instruction="Answer with one label.",
    lessons=label_lessons,
    scoring=Scoring(label_scores, "accuracy", ("accuracy",), columns=label_columns),
    needs=("labels",),
    open=open_classifier,
)
