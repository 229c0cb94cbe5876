"""Reading a configuration: a file or a dict, the table at a pointer, with variables filled in."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jam_core.exceptions import JamConfigurationError
from jam_core.problems import Problems

CONFIG_VARIABLE = "JAM_CONFIG"
"""The environment variable that holds the path of the configuration."""

# An environment variable in a string of the configuration.
_VARIABLE = re.compile(
    r"\$\$"
    r"|\$\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<broken>\$\{)"
)

# What a setting's name looks like at the beginning of a line. A key in base64, which ends in "=",
# looks different, and a line that continues the one before is indented.
_SETTING = r"[a-z_.]{1,40} *"
# What may come before a variable in a string; elsewhere a dollar may be part of a password.
_BEFORE_VARIABLE = ("", "/", ":", "@", "=", ",", " ")

# The limit for a table: one with more is a bomb of YAML aliases.
_MOST_TABLES = 10_000
_DEEPEST = 64

# Parts of parsers' messages. Compiled only when there is one.
_TOML_KEY = r"\('.*?',?\)"  # as tomllib writes one: ('jam', 'session')
_QUOTED_WORDS = r"""(['"])[\w!].*\1"""

# Stands for a value that was forgotten in a YAML file. "null" and "~" are None.
_BLANK = object()


class Configuration(NamedTuple):
    """A table of settings.

    Attributes:
        table: The settings, with variables filled in.
        written: The same, with variables as they are written.
        problems: Collects what is wrong with it; already has the variables that could not be
            filled in.
    """

    table: dict[str, Any]
    written: Mapping[str, Any]
    problems: Problems


class Written(NamedTuple):
    """A value as it is written in a configuration.

    Attributes:
        value: The value without what comes from variables; their defaults are part of the file.
        variables: The environment variables that it uses and that are set.
    """

    value: Any
    variables: tuple[str, ...]


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
        written = _table_at(config, pointer, source) if _wraps(config, pointer) else config
    else:
        path = Path(config)
        source = str(path)
        written = _table_at(_parse_file(path), pointer, source)
    problems = Problems(source, pointer)
    _check_extent(written, problems)
    return Configuration(_fill_in(written, problems), written, problems)


def _check_extent(table: Mapping[str, Any], problems: Problems) -> None:
    """Refuse a table that is endless, or nearly so: YAML aliases can do that.

    Raises:
        JamConfigurationError: It is endless, or too large.
    """
    level: list[Any] = [table]
    total = 0
    for _ in range(_DEEPEST):
        level = [
            value
            for one in level
            for value in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(value, Mapping | list)
        ]
        total += len(level)
        if not level:
            return
        if total > _MOST_TABLES:
            break
    problems.add("contains itself, is nested too deeply, or repeats tables too often by aliases.")
    problems.raise_any()


def as_written(value: Any) -> Written:
    """Tell which part of a value is in the file itself, and what comes from the environment."""
    if isinstance(value, Mapping):
        items = {key: as_written(item) for key, item in value.items()}
        used = [name for item in items.values() for name in item.variables]
        return Written({key: item.value for key, item in items.items()}, _each_once(used))
    if isinstance(value, list):
        elements = [as_written(item) for item in value]
        used = [name for item in elements for name in item.variables]
        return Written([item.value for item in elements], _each_once(used))
    if not isinstance(value, str):
        return Written(value, ())
    names = (match["braced"] or match["bare"] for match in _VARIABLE.finditer(value))
    used = [name for name in names if name and os.environ.get(name)]
    text = _VARIABLE.sub(lambda match: match["default"] or "", value)
    return Written(text, _each_once(used))


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _no_configuration() -> NoReturn:
    raise JamConfigurationError(
        "There is no configuration: pass Jam a file's path or a dict (--config FILE on the "
        f"command line), or set the environment variable {CONFIG_VARIABLE} to the path of a file."
    )


def _wraps(config: Mapping[str, Any], pointer: str) -> bool:
    """Tell whether a dict holds its table under the pointer's name instead of being it."""
    return bool(pointer) and pointer.partition(".")[0] in config


def _table_at(document: Mapping[str, Any], pointer: str, source: str) -> Mapping[str, Any]:
    """Return the table of a configuration that a dotted path leads to."""
    table: object = document
    above = ""
    for part in pointer.split(".") if pointer else ():
        if not isinstance(table, Mapping) or part not in table:
            names = ", ".join(above + name for name in _tables_in(table)) or "none"
            raise JamConfigurationError(
                f"{source} has no table [{pointer}]. Its tables: {names}. Write [{pointer}], or "
                "pass its dotted path to Jam as `pointer` (--pointer on the command line)."
            )
        table, above = table[part], f"{above}{part}."
    if not isinstance(table, Mapping):
        raise JamConfigurationError(f"{source}: {pointer or 'the top level'} must be a table.")
    return table


def _tables_in(table: object) -> list[str]:
    items = table.items() if isinstance(table, Mapping) else ()
    return [str(key) for key, value in items if isinstance(value, Mapping)]


def _parse_file(path: Path) -> Mapping[str, Any]:
    """Return what a configuration's file says, with variables as they are written."""
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
    try:
        document = parse(path, text)
    except RecursionError:
        raise JamConfigurationError(f"{path} is nested too deeply.") from None
    if not isinstance(document, Mapping):
        raise JamConfigurationError(f"{path} must hold a table at its top level.")
    return document


def _parse_toml(path: Path, text: str) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JamConfigurationError(_toml_fault(path, text, str(error))) from None
    except ValueError:  # Python's own, for a number with thousands of digits
        raise JamConfigurationError(f"{path}: not valid TOML: {_LONG_NUMBER}") from None


_LONG_NUMBER = "a number in it is too long."


def _toml_fault(path: Path, text: str, fault: str) -> str:
    """Say where a TOML file is wrong without repeating a value, which may be a secret."""
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
    """Take words quoted from a file out of a parser's message: they may be a secret."""
    return re.sub(_QUOTED_WORDS, "...", fault)


def _parse_json(path: Path, text: str) -> object:
    import json

    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _table_of(path, pairs))
    except json.JSONDecodeError as error:
        raise JamConfigurationError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: "
            f"{error.msg.lower()}."
        ) from None
    except ValueError:  # Python's own, for a number with thousands of digits
        raise JamConfigurationError(f"{path}: not valid JSON: {_LONG_NUMBER}") from None


def _table_of(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a table of a JSON file, unless it has a key twice: `json` would keep the last."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise JamConfigurationError(
            f"{path}: {_called(twice)} appears twice in one table. Remove one."
        )
    return table


def _called(key: object) -> str:
    """Name a key of a file in a message, unless it may be something other than a name."""
    return key if isinstance(key, str) and re.fullmatch("[A-Za-z_.-]{1,40}", key) else "a key"


def _parse_yaml(path: Path, text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise JamConfigurationError(
            f"{path}: reading YAML needs PyYAML: pip install 'jam-core[yaml]'."
        ) from None

    class Loader(yaml.SafeLoader):
        """Refuses a key that appears twice, and tells a forgotten value from null."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            # Checked here, since `<<` will add its keys to the same list.
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        problem = f"{_called(key.value)} appears twice in one table"
                        raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                    seen.add(key.value)
            return node

    Loader.add_constructor("tag:yaml.org,2002:null", lambda _, node: None if node.value else _BLANK)
    try:
        return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = _without_values(error.problem or "cannot be parsed")
        raise JamConfigurationError(f"{path}, line {line}: not valid YAML: {reason}.") from None
    except yaml.YAMLError:
        raise JamConfigurationError(
            f"{path}: not valid YAML: it contains a character that YAML forbids."
        ) from None
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
        # Something that looks like a date or a number, but is not one, fails in many ways.
        raise JamConfigurationError(
            f"{path}: not valid YAML: a date or a number in it is invalid. Put it in quotes."
        ) from None


def _fill_in(value: Any, problems: Problems) -> Any:
    """Return a copy of `value` with the variables in its strings replaced."""
    if isinstance(value, Mapping):
        return {key: _fill_in(item, problems.at(str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_in(item, problems.at(f"[{index}]")) for index, item in enumerate(value)]
    if value is _BLANK:
        problems.add("has no value: give it one, write none, or remove the line.")
        return None
    if not isinstance(value, str) or "$" not in value:
        return value

    return _VARIABLE.sub(lambda match: _filled(match, problems), value)


def _filled(variable: re.Match[str], problems: Problems) -> str:
    """Return what a variable in a string stands for; if nothing, note why."""
    if variable[0] == "$$":
        return "$"
    name, default = variable["braced"] or variable["bare"], variable["default"]
    # Files of variables may have spaces, and another system's line ends.
    text = os.environ[name].strip() if name and name in os.environ else None
    if default is not None and "$" in default.replace("$$", ""):
        problems.add(
            f"has a variable inside a default, which is not filled in: set {name}, or write "
            "$$ for a dollar sign."
        )
    elif default is not None and not text:  # as in a shell: set to nothing counts as not set
        return default.replace("$$", "$")
    elif text is None:
        problems.add(_unfilled(variable))
    elif is_quoted(text):
        problems.add(
            f"uses the environment variable {name}, whose value has quotes around it: remove them "
            "where it is set."
        )
    else:
        return text
    return ""


def is_quoted(text: str) -> bool:
    """Tell whether a string has kept the quotes that somebody put around it."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _unfilled(variable: re.Match[str]) -> str:
    name = variable["braced"] or variable["bare"]
    if name is None:
        return (
            "has a "
            "'${' that does not start a variable: write ${NAME} or ${NAME:-default}, and $$ for a "
            "dollar sign."
        )
    if not variable["braced"] and _may_be_secret(variable):
        return (
            "has a '$' that names no environment variable that is set: write $$ for a "
            "dollar sign, ${NAME} for a variable, and set that."
        )
    return (
        f"uses the environment variable {name}, which is not set. Set it, give a default as in "
        f"${{{name}:-default}}, or write $$ for a dollar sign."
    )


def _may_be_secret(variable: re.Match[str]) -> bool:
    """Tell whether what looks like a variable may be part of a password with a dollar in it."""
    before = variable.string[: variable.start()][-1:]
    return before not in _BEFORE_VARIABLE or not variable["bare"].isupper()
