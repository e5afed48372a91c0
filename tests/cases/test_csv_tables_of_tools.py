"""CSV files of other programs as tables to ask: the same dialects as for documents."""

from __future__ import annotations

import pytest

from metier.tools.database import open_database


@pytest.mark.parametrize(
    ("content", "query", "answer"),
    [
        (b"Ware;Menge;Preis\nNagel;45;0,12\nMutter;120;0,08\n", "SELECT sum(Menge) FROM lager", 165),
        ("Ware,Menge\nGehäuse,5\n".encode("cp1252"), "SELECT Menge FROM lager WHERE Ware = 'Gehäuse'", 5),
        (b"sep=\t\nWare\tMenge\nNagel\t4\n", "SELECT Menge FROM lager", 4),
        (b"Stock of May,,\n,,\nware,price,left\nnail,1.5,3\n", "SELECT price FROM lager", 1.5),
        (b"7,nail,3\n8,screw,5\n", "SELECT max(column_3) FROM lager", 5),
        (b"ware,left\n", "SELECT count(*) FROM lager", 0),
    ],
)
def test_dialects(tmp_path, content, query, answer):
    path = tmp_path / "lager.csv"
    path.write_bytes(content)
    assert open_database(path).query(query).rows == ((answer,),)
