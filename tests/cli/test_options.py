"""Every command explains each of its options, and all say the same of the same one."""

import subprocess
import sys

import pytest
import typer

from igsref.cli import app
from igsref.cli.options import FORM, FORMS

COMMAND = typer.main.get_command(app)
VECTORS = COMMAND.commands["vectors"]
ALL = {
    **{name: command for name, command in COMMAND.commands.items() if name != "vectors"},
    **{f"vectors {name}": command for name, command in VECTORS.commands.items()},
}


@pytest.mark.parametrize("name", ALL)
def test_a_command_has_an_example_and_explains_its_options_with_their_defaults(name):
    command = ALL[name]
    assert f"Example: igsref {name}" in command.help
    for option in command.params:
        if option.name == "help":
            continue
        assert option.help[0].isupper() or option.name == "name", option.name
        assert option.help.endswith("."), option.name
        if not option.required and option.default is None:
            assert "unless given" in option.help, option.name


def test_an_option_is_the_same_in_all_commands():
    of_all: dict[str, set[tuple]] = {}
    for command in ALL.values():
        for option in command.params:
            if option.param_type_name == "option" and option.name != "max_seconds":
                said = tuple(option.opts), option.help, option.default, option.is_flag
                of_all.setdefault(option.name, set()).add(said)
    assert len(of_all) > 10
    assert {name: said for name, said in of_all.items() if len(said) > 1} == {}


def test_forms_name_the_form_of_what_a_module_holds():
    assert FORM in FORMS


def test_help_takes_no_torch():
    lines = [
        "import sys",
        "from typer.testing import CliRunner",
        "from igsref.cli import app",
        "for words in (['--help'], ['--version'], ['measure', '--help'], ['vectors', '--help']):",
        "    assert CliRunner().invoke(app, words).exit_code == 0",
        "print([name for name in ('torch', 'numpy', 'scipy', 'tqdm') if name in sys.modules])",
    ]
    shown = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"
