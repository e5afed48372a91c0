"""Teams of one and of fifty specialists, few and like-worded examples: each test is one kind that went wrong once."""

from __future__ import annotations

import pytest

from metier.core.embedding import Embedder
from metier.router.router import Router

THINGS = (
    "pump valve motor crane boiler oven press lathe mixer dryer filter fan chiller conveyor robot scale printer "
    "labeller palletiser wrapper forklift gate lift ladder tank silo furnace kiln saw drill grinder welder laser "
    "scanner camera sensor relay fuse battery inverter panel cable hose pipe elbow flange gasket bearing belt chain"
).split()
FORMS = (
    "how often is the {} greased",
    "who may operate the {}",
    "what is the noise of the {}",
    "where is the manual of the {}",
    "which oil does the {} need",
)
FOREIGN = ("who won the world cup", "write a poem about the sea", "what is the capital of Australia", "tell me a joke")


def fitted(count: int, embedder: Embedder, **more: object) -> Router:
    tasks = {thing: [form.format(thing) for form in FORMS] for thing in THINGS[:count]}
    return Router.fit(tasks, embedder=embedder, **more)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def twenty(embedder: Embedder) -> Router:
    return fitted(20, embedder)


@pytest.mark.parametrize("count", [2, 20, 49])
def test_new_wordings_reach_their_specialist(count: int, embedder: Embedder, twenty: Router) -> None:
    router = twenty if count == 20 else fitted(count, embedder)
    for form in ("how often must the {} be greased", "how loud is the {}", "when was the {} last repaired"):
        asked = THINGS[:count:4] if count > 20 else THINGS[:count]
        right = [router.route(form.format(thing)).choice == thing for thing in asked]
        assert sum(right) >= 0.9 * len(right), (form, count)
    assert all(router.route(text).decision == "abstain" for text in FOREIGN)


def test_a_thing_that_nobody_knows_is_nobodys_however_familiar_the_question(twenty: Router) -> None:
    for thing in ("helicopter", "submarine"):
        assert twenty.route(f"how often is the {thing} greased").decision == "abstain"


def test_nobody_is_asked_to_choose_among_many(twenty: Router) -> None:
    for text in ("how often is it greased", "who may operate it", "which oil", "the manual please", "noise?"):
        route = twenty.route(text)
        assert len(route.candidates) <= 3 or route.decision != "clarify"


def test_one_specialist_alone_keeps_its_own_and_refuses_the_rest(embedder: Embedder) -> None:
    stock = ["how many belts are left", "do we have a spare filter", "where is the M8 bolt stored", "order new gaskets"]
    router = Router.fit({"stock": stock}, embedder=embedder)
    assert router.route("how many filters do we have").choice == "stock"
    assert all(router.route(text).decision == "abstain" for text in FOREIGN)


def test_the_same_example_twice_changes_nothing(embedder: Embedder) -> None:
    once = {
        "stock": ["how many belts are left?", "do we have a spare filter?", "where is the M8 bolt stored?"],
        "safety": ["which gloves for the acid?", "who may work at heights?", "where is the first-aid box?"],
    }
    twice = {name: [*texts, *(text.upper().replace("?", " !") for text in texts)] for name, texts in once.items()}
    asked = ["how many gaskets are left", "which mask for the paint", "who repaired the roof of the town hall"]
    routes = [[Router.fit(tasks, embedder=embedder).route(text) for text in asked] for tasks in (once, twice)]
    assert [r.decision for r in routes[0]] == [r.decision for r in routes[1]]
    assert [r.choice for r in routes[0]] == [r.choice for r in routes[1]]


def test_an_example_that_two_specialists_share_breaks_nothing(embedder: Embedder) -> None:
    shared = "where is the key of the cabinet"
    tasks = {"stock": ["how many belts are left", shared], "safety": ["which gloves for the acid", shared]}
    assert Router.fit(tasks, embedder=embedder).route(shared).decision in ("clarify", "one")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\x00", "\x1b[31mred\x1b[0m", "\u202e gnol", "e\u0301" * 3000])
def test_any_text_gets_a_route(text: str, twenty: Router) -> None:
    assert 0 <= twenty.route(text).confidence <= 1
    assert twenty.route("how often is the pump greased", context=[text], attachments=[text]).choice
    Router.fit({"a": [text, "how many belts are left"]}, embedder=twenty.embedder)


def test_documents_settle_what_examples_leave_open(twenty: Router) -> None:
    def speaks(**evidence: float):
        return twenty.with_second_look(
            lambda text, names: {name: evidence.get(name, evidence["rest"]) for name in names}
        )

    task = "how often is it greased and by whom, pump or valve"
    plain = twenty.route(task)
    if plain.decision == "clarify":
        assert speaks(pump=0.8, rest=0.4).route(task).choice == "pump"
    assert speaks(rest=0.1).route("which oil for the thing over there").decision == "abstain"
