"""A notebook's table has the cells of the rows, escaped."""

from xml.etree import ElementTree

from igsref.notebook import html_table


def test_rows_become_cells_and_lines_paragraphs():
    found = html_table([("a & b", "1", "<2>"), ("c", "3", "")], ["x < y"])
    page = ElementTree.fromstring(f"<div>{found}</div>")
    rows = [[cell.text or "" for cell in row] for row in page.iter("tr")]
    assert rows == [["a & b", "1", "<2>"], ["c", "3", ""]]
    assert [row[0].tag for row in page.iter("tr")] == ["th", "th"]
    assert [line.text for line in page.iter("p")] == ["x < y"]


def test_nothing_is_an_empty_table():
    assert html_table([]) == "<table></table>"
