"""A notebook's table has the cells of the rows, escaped."""

from igsref.notebook import html_table


def test_rows_become_cells_and_lines_paragraphs():
    found = html_table([("a & b", "1", "<2>"), ("c", "3", "")], ["x < y"])
    assert found == (
        '<table><tr><th scope="row">a &amp; b</th><td>1</td><td>&lt;2&gt;</td></tr>'
        '<tr><th scope="row">c</th><td>3</td><td></td></tr></table><p>x &lt; y</p>'
    )


def test_nothing_is_an_empty_table():
    assert html_table([]) == "<table></table>"
