"""A team for the page: `ovens` answers from manuals (Markdown, PDF, CSV), `people` from the rules of the house, and
`orders` looks into the store and buys after somebody agreed. The model follows a script.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fpdf import FPDF
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool

from metier.agents.cards import MemoryCard
from metier.agents.team import Team
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import Script, ScriptedEngine
from metier.specialists.functions import NO_CALL, write_call
from metier.tools.tool import ToolContext, tool

OVEN = """# Deck oven DO-4

## Daily care

Let the oven cool to 60 °C before the decks are brushed. Never spray water on a hot stone: it cracks.

## Steam system

The steam boiler is descaled every 250 hours of steam. Use citric acid at 40 g per litre and rinse twice.

The safety valve opens at 0.5 bar. It is tested by the fitter once a year; its seal must never be broken.

## Faults

Code E12 means that the door switch does not close. Clean the magnet, then start the oven again.
"""

SCHEDULE = """machine,part,lubricant,interval,amount
Spiral mixer SM-2,bowl bearing,NLGI 2 grease,400 h,6 g
Spiral mixer SM-2,drive chain,food-grade oil,100 h,a few drops
Dough sheeter DS-1,roller bearings,NLGI 1 grease,300 h,3 g
Divider DV-3,piston guides,food-grade oil,50 h,2 ml
"""

HOUSE = """# Rules of the house

## Shifts

The night shift begins at 22:00 and ends at 06:00. Swaps are agreed with the shift lead two days before.

## Leave

Leave of more than five days is asked for four weeks ahead. Unused days move to the next year until 31 March.

## Clothing

Everybody in the bakery wears a cap, light trousers and closed shoes. Jewellery stays in the locker.
"""

MIXER = [
    ("Spiral mixer SM-2", "Operating manual, edition 4. Keep it beside the machine."),
    ("Kneading", "Knead wheat dough for four minutes in first gear and for eight minutes in second gear.\n\n"
     "Rye dough is kneaded in first gear only, for ten minutes.\n\n"
     "The dough must not be warmer than 26 °C when it leaves the bowl."),
    ("Emergency stop", "Press the red button on either side. The bowl stands still within two seconds.\n\n"
     "Turn the button to the right to release it, close the guard, and press start."),
]  # fmt: skip

CARE = "How often is the steam boiler descaled?"
CARE_QUOTE = "every 250 hours of steam"
GEAR = "How long is rye dough kneaded?"
GEAR_QUOTE = "in first gear only, for ten minutes"
GREASE = "Which lubricant do the piston guides of the divider need?"
GREASE_QUOTE = "food-grade oil"
LEAVE = "How early must I ask for a week of leave?"
LEAVE_QUOTE = "four weeks ahead"
LEASE = "When does the lease of the shop in Mill Street end?"
LEASE_QUOTE = "31 March 2031"
LEASE_FILE = "# Lease\n\nThe lease of the shop in Mill Street ends on 31 March 2031. The rent is 1,900 euros.\n"
BUY = "Please order 20 kg of rye flour"

SCRIPT = {"descaled": CARE_QUOTE, "rye dough": GEAR_QUOTE, "piston guides": GREASE_QUOTE, "leave": LEAVE_QUOTE}
SCRIPT |= {"lease of the shop": LEASE_QUOTE}


def script(messages: list[BaseMessage]) -> str:
    """The model: a quote for what it knows, a call for an order, and nothing for the rest."""
    said = messages[-1].text
    task = said[said.rfind("Question:") :] if "Question:" in said else said
    made = bool(re.search(r"\) (?:gave|failed): ", said))
    if wanted := re.findall(r"order (\d+) kg of ([\w ]+)", task):
        amount, article = wanted[-1]
        return NO_CALL if made else write_call("order", {"article": article, "kilos": int(amount)})
    if store := re.search(r"How much ([\w ]+) is in the store", task):
        return NO_CALL if made else write_call("stock", {"article": store[1]})
    return next((quote for word, quote in SCRIPT.items() if word in task and quote in said), "not found")


def tools(context: ToolContext) -> list[BaseTool]:
    """`stock` looks, `order` buys; each order is a line in `ordered.txt`."""

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def stock(article: str) -> str:
        """How much of an article is in the store."""
        return f"{article}: 6 kg in the store"

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def order(article: str, kilos: int) -> str:
        """Order an article from the mill."""
        with (context.root / "ordered.txt").open("a") as file:
            file.write(f"{kilos} kg {article}\n")
        return f"ordered: {kilos} kg of {article}"

    return [stock, order]


def mixer(path: Path) -> None:
    """The manual of the mixer, a PDF of three pages with bookmarks."""
    pdf = FPDF()
    pdf.set_title("Spiral mixer SM-2")
    for title, text in MIXER:
        pdf.add_page()
        pdf.start_section(title)
        pdf.set_font("Helvetica", "B", 20)
        pdf.cell(text=title, new_x="LMARGIN", new_y="NEXT", h=16)
        pdf.set_font("Helvetica", size=12)
        pdf.multi_cell(0, 7, text)
    pdf.output(str(path))


def papers(folder: Path) -> list[Path]:
    """The documents of `ovens` as files somewhere else: what somebody drops on the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deck-oven.md").write_text(OVEN, encoding="utf-8")
    (folder / "lubrication.csv").write_text(SCHEDULE, encoding="utf-8")
    mixer(folder / "spiral-mixer.pdf")
    return sorted(folder.iterdir())


def open_bakery(
    folder: Path, *, empty: bool = False, says: Script = script, pause: float | None = None, **more: Any
) -> Team:
    """Build and open the team; `empty` leaves out the documents of `ovens`."""
    for name in ("ovens", "people"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "people" / "house.md").write_text(HOUSE, encoding="utf-8")
    for path in [] if empty else papers(folder / "ovens"):
        assert path.is_file()
    (folder / "examples.jsonl").write_text("")
    cards = [
        SpecialistCard(
            name="ovens",
            description="Answers from the manuals of ovens, mixers and dividers: care, settings, faults, lubrication.",
            knowledge=KnowledgeCard(sources=["ovens"]),
            examples=[CARE, GEAR, GREASE, "What does code E12 of the oven mean?", "When does the safety valve open?",
                      "How is the mixer released after an emergency stop?", "ovens.jsonl"],
            abstain_below=0.0,
        ),
        SpecialistCard(
            name="people",
            description="Knows the rules of the house: shifts, leave, clothing, pay.",
            knowledge=KnowledgeCard(sources=["people"]),
            examples=[LEAVE, "When does the night shift begin?", "May I wear a ring at work?",
                      "Until when can I take the leave of last year?", "Who agrees to a swap of shifts?"],
            abstain_below=0.2,
        ),
        SpecialistCard(
            name="orders",
            description="Looks into the store and orders flour, yeast and packaging from suppliers.",
            style="act",
            tools=["metier.tests.bakery:tools"],
            examples=[BUY, "order 5 kg of yeast", "Please order 100 kg of wheat flour",
                      "order 12 kg of salt from the mill", "How much rye flour is in the store?"],
            abstain_below=0.0,
        ),
    ]  # fmt: skip
    (folder / "ovens.jsonl").write_text('{"input": "How hot may the oven be when it is brushed?", "answer": "60 °C"}\n')
    return Team.of(
        "bakery",
        *cards,
        folder=folder,
        engine=ScriptedEngine(says, pause=pause),
        memory=MemoryCard(),
        policy={"ask": ["order"]},
        guardrails=["length"],
        description="The bakery's own team: machines, people, and what is in the store.",
        **more,
    )
