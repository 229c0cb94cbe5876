"""Reading a configuration: a file or a dict, the table at a pointer, variables filled in."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jam_core.exceptions import JamConfigurationError

CONFIG_VARIABLE = "JAM_CONFIG"

# An environment variable in a text of the configuration.
VARIABLE = re.compile(
    r"\$\$"
    r"|\$\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<broken>\$\{)"
)

# What a setting's name looks like at the beginning of a line. A key in base64, which ends in "=",
# does not, and what goes on from the line before is indented.
_SETTING = r"[a-z_.]{1,40} *"
# What may stand before a variable in a text; elsewhere a dollar may be a part of a password.
_BEFORE_VARIABLE = ("", "/", ":", "@", "=", ",", " ")

# Of parsers' messages. Not compiled before there is one.
_TOML_KEY = r"\('.*?',?\)"  # as tomllib writes one: ('jam', 'session')
_QUOTED_WORDS = r"""(['"])[\w!].*\1"""


class Configuration(NamedTuple):
    """A table of settings, where it comes from, and what is wrong in it so far.

    Attributes:
        table: The settings, variables filled in.
        source: The file's path, or words for a dict.
        pointer: The dotted path of the table in its source.
        problems: What could not be filled in, one text for each.
    """

    table: dict[str, Any]
    source: str
    pointer: str
    problems: list[JamConfigurationError]

    def key(self, key: str) -> str:
        """Return the whole dotted path of the setting at `key`."""
        return _join(self.pointer, key)

    def problem(self, key: str, text: str) -> JamConfigurationError:
        """Return the error that says what is wrong with the setting at `key`."""
        return JamConfigurationError(f"{self.source}: {self.key(key)} {text}")


def read_configuration(
    config: str | os.PathLike[str] | Mapping[str, Any] | None, pointer: str
) -> Configuration:
    """Read a configuration.

    Args:
        config: The path of a TOML, YAML or JSON file; or a dict, which is the table itself, or
            holds it at `pointer`; or None: the path in the environment variable JAM_CONFIG.
        pointer: The dotted path of the table in a file; empty for the whole file.

    Raises:
        JamConfigurationError: There is no configuration, the file cannot be read or parsed, or
            it has no table at the pointer.
    """
    if config is None or config == "":
        config = os.environ.get(CONFIG_VARIABLE) or _no_configuration()
    if not isinstance(config, str | os.PathLike | Mapping):
        raise JamConfigurationError(
            f"config must be a file's path or a dict, not {type(config).__name__}."
        )
    if isinstance(config, Mapping):
        source = "the configuration dict"
        table = table_at(config, pointer) if _wraps(config, pointer) else config
    else:
        path = Path(config)
        source = str(path)
        table = table_at(parse_file(path), pointer, source)
    problems: list[JamConfigurationError] = []
    filled = _fill_in(table, source, pointer, problems)
    return Configuration(filled, source, pointer, problems)


def _no_configuration() -> NoReturn:
    raise JamConfigurationError(
        "There is no configuration: pass Jam a file's path or a dict (--config FILE on the "
        f"command line), or set the environment variable {CONFIG_VARIABLE} to the path of a file."
    )


def _join(pointer: str, key: str) -> str:
    return f"{pointer}.{key}" if pointer and key else pointer or key


def _wraps(config: Mapping[str, Any], pointer: str) -> bool:
    """Tell whether a dict holds its table under the pointer's name instead of being it."""
    return bool(pointer) and pointer.partition(".")[0] in config


def table_at(
    document: Mapping[str, Any], pointer: str, source: str = "the configuration dict"
) -> Mapping[str, Any]:
    """Return the table of a configuration that a dotted path leads to."""
    table: object = document
    above = ""
    for part in pointer.split(".") if pointer else ():
        if not isinstance(table, Mapping) or part not in table:
            names = ", ".join(_join(above, name) for name in _tables_in(table)) or "none"
            raise JamConfigurationError(
                f"{source} has no table [{pointer}]. Its tables: {names}. Write [{pointer}], or "
                "pass its dotted path to Jam as `pointer` (--pointer on the command line)."
            )
        table, above = table[part], _join(above, part)
    if not isinstance(table, Mapping):
        raise JamConfigurationError(f"{source}: {pointer or 'the top level'} must be a table.")
    return table


def _tables_in(table: object) -> list[str]:
    items = table.items() if isinstance(table, Mapping) else ()
    return [str(key) for key, value in items if isinstance(value, Mapping)]


def parse_file(path: Path) -> Mapping[str, Any]:
    """Return what a configuration's file says, with variables as they stand there."""
    parsers = {
        ".toml": _parse_toml,
        ".json": _parse_json,
        ".yaml": _parse_yaml,
        ".yml": _parse_yaml,
    }
    parse = parsers.get(path.suffix.lower())
    if parse is None and path.is_dir():
        raise JamConfigurationError(f"{path} is a directory: give the path of a file in it.")
    if parse is None:
        raise JamConfigurationError(
            f"{path}: a configuration file ends in {', '.join(sorted(parsers))}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise JamConfigurationError(f"{path} is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise JamConfigurationError(
            f"{path.absolute()} cannot be read: {error.strerror}. "
            f"Check its permissions, and the path given to Jam or in {CONFIG_VARIABLE}."
        ) from error
    document = parse(path, text)
    if not isinstance(document, Mapping):
        raise JamConfigurationError(f"{path} must hold a table at its top level.")
    return document


def _parse_toml(path: Path, text: str) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JamConfigurationError(_toml_fault(path, text, str(error))) from None


def _toml_fault(path: Path, text: str, fault: str) -> str:
    """Say where a TOML file is wrong without repeating a value of it: it may be a secret."""
    place = re.search(r"\(at line (\d+), column (\d+)\)", fault)
    lines = text.splitlines()
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    name, equals, value = line.partition("=")
    setting = f", at {name.strip()}" if equals and re.fullmatch(_SETTING, name) else ""
    if equals and value.strip()[:1] in ("'", '"') and value.count(value.strip()[0]) % 2:
        reason = "the text after = has no closing quote"
    else:
        reason = re.sub(r"\s*\(at .*", "", fault)
        reason = re.sub(_TOML_KEY, _dotted, reason)
        reason = _without_values(reason[:1].lower() + reason[1:])
    return f"{path}, line {number}{setting}: not valid TOML: {reason}."


def _dotted(key: re.Match[str]) -> str:
    return ".".join(re.findall("'(.*?)'", key[0]))


def _without_values(fault: str) -> str:
    """Take the words of a file out of a parser's message: they may be a secret."""
    return re.sub(_QUOTED_WORDS, "...", fault)


def _parse_json(path: Path, text: str) -> object:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise JamConfigurationError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: "
            f"{error.msg.lower()}."
        ) from None


def _parse_yaml(path: Path, text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise JamConfigurationError(
            f"{path}: reading YAML needs PyYAML: pip install 'jam-core[yaml]'."
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = _without_values(error.problem or "cannot be parsed")
        raise JamConfigurationError(f"{path}, line {line}: not valid YAML: {reason}.") from None
    except yaml.YAMLError:
        raise JamConfigurationError(
            f"{path}: not valid YAML: it holds a character that YAML forbids."
        ) from None
    except Exception:  # what looks like a date or a number, and is none, fails in many ways
        raise JamConfigurationError(
            f"{path}: not valid YAML: a date or a number in it is none. Put it in quotes."
        ) from None


def _fill_in(value: Any, source: str, pointer: str, problems: list[JamConfigurationError]) -> Any:
    """Return a copy of `value` with the variables in its texts replaced."""
    if isinstance(value, Mapping):
        return {
            key: _fill_in(item, source, _join(pointer, str(key)), problems)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _fill_in(item, source, f"{pointer}[{index}]", problems)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, str) or "$" not in value:
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match["braced"] or match["bare"], match["default"]
        text = os.environ.get(name) if name else None
        if default is not None and not text:  # as in a shell: set to nothing is not set
            return default
        if text is None:
            problems.append(_unfilled(source, pointer, match))
            return ""
        return text

    return VARIABLE.sub(replacement, value)


def _unfilled(source: str, key: str, variable: re.Match[str]) -> JamConfigurationError:
    name = variable["braced"] or variable["bare"]
    if name is None:
        return JamConfigurationError(
            f"{source}: {key} has a '${{' that begins no variable: write ${{NAME}} or "
            "${NAME:-default}, and $$ for a dollar sign."
        )
    if not variable["braced"] and _may_be_secret(variable):
        return JamConfigurationError(
            f"{source}: {key} has a '$' with the name of no environment variable that is set: "
            "write $$ for a dollar sign, ${NAME} for a variable, and set that."
        )
    return JamConfigurationError(
        f"{source}: {key} uses the environment variable {name}, which is not set. Set it, give a "
        f"default as in ${{{name}:-default}}, or write $$ for a dollar sign."
    )


def _may_be_secret(variable: re.Match[str]) -> bool:
    """Tell whether what looks like a variable may be a part of a password that has a dollar."""
    before = variable.string[: variable.start()][-1:]
    return before not in _BEFORE_VARIABLE or not variable["bare"].isupper()
