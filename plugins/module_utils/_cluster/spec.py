# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What the user wants: every value coerced and checked once, before any request. PRIVATE to the collection."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from . import quantity
from .errors import InputError
from .options import BY_NAME, OPERATIONS, OPTIONS, Option
from .rules import WAIVABLE

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Reference grammar of distribution/reference, without the parts no registry uses.
_IMAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][-A-Za-z0-9._:/]*?)(?P<tag>:[A-Za-z0-9_][-A-Za-z0-9._]{0,127})?(?P<digest>@[a-z0-9]+:[0-9a-f]{32,})?"
)
_TRUE = ("true", "yes", "on", "1", "y", "t")
_FALSE = ("false", "no", "off", "0", "n", "f")


def _dns_label(option: Option, value: t.Any) -> str:
    text = str(value)
    limit = 40 if option.name == "name" else 63
    if not _LABEL.fullmatch(text) or len(text) > limit:
        raise InputError(
            option.name,
            f"{text!r} is no DNS label; allowed are at most {limit} of a-z, 0-9 and -, "
            "beginning and ending with a letter or digit",
        )
    if option.name == "name" and not text[0].isalpha():
        raise InputError(option.name, f"{text!r} must begin with a letter, as Service names do")
    if option.name == "name" and text == "kwbase":
        raise InputError(
            option.name,
            "'kwbase' is not allowed: a Service of that name sets KWBASE_PORT in other pods, which the "
            "database takes for its --port; any other DNS label is",
        )
    return text


def _dns_name(option: Option, value: t.Any) -> str:
    text = str(value)
    if len(text) > 253 or not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise InputError(option.name, f"{text!r} is no DNS name; allowed are labels of a-z, 0-9 and - joined by dots")
    return text


def _bool(option: Option, value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InputError(option.name, f"{value!r} is no boolean; allowed are true and false")


def _int(option: Option, value: t.Any) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        raise InputError(option.name, f"{value!r} is no whole number") from None
    if option.minimum is not None and number < option.minimum:
        raise InputError(option.name, f"{number} is too small; allowed are {option.minimum} and more")
    return number


def _port(option: Option, value: t.Any) -> int:
    number = _int(option, value)
    if not 1 <= number <= 65535:
        raise InputError(option.name, f"{number} is no port; allowed are 1 to 65535")
    return number


def _replicas(option: Option, value: t.Any) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        raise InputError(
            option.name, f"{value!r} is no whole number; allowed are 3 and more, or 1 with single_node"
        ) from None
    if number < 1 or number == 2:
        raise InputError(
            option.name,
            f"{number} is not allowed: two nodes lose their quorum with either of them; "
            "allowed are 3 and more, or 1 together with single_node=true",
        )
    return number


def _quantity(option: Option, value: t.Any) -> str:
    text = str(value).strip()
    try:
        positive = quantity.parse(text) > 0
    except ValueError:
        positive = False
    if not positive:
        raise InputError(
            option.name,
            f"{text!r} is no quantity; allowed are positive numbers with one of the units "
            "m k M G T P E Ki Mi Gi Ti Pi Ei or none, such as 500Gi",
        )
    return text


def _image(option: Option, value: t.Any) -> str:
    text = str(value).strip()
    match = _IMAGE.fullmatch(text)
    if not match or not (match["tag"] or match["digest"]):
        raise InputError(
            option.name,
            f"{text!r} has neither tag nor digest, or is no image reference; "
            "allowed are NAME:TAG and NAME@sha256:…, for a restart must never bring another version by chance",
        )
    return text


def _path(option: Option, value: t.Any) -> str:
    text = str(value).rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", text) or ".." in text.split("/"):
        raise InputError(
            option.name, f"{value!r} is no absolute path of plain names; allowed is such as /var/lib/kaiwudb"
        )
    return text


def _str(option: Option, value: t.Any) -> str:
    text = str(value)
    if option.choices and text not in option.choices:
        raise InputError(option.name, f"{text!r} is not allowed; allowed are {', '.join(option.choices)}")
    return text


def _strings(option: Option, value: t.Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise InputError(option.name, f"{value!r} is no list")
    return tuple(text for text in (str(item).strip() for item in items) if text)


def _one_of(allowed: tuple[str, ...]) -> t.Callable[[Option, t.Any], tuple[str, ...]]:
    def coerce(option: Option, value: t.Any) -> tuple[str, ...]:
        items = _strings(option, value)
        wrong = [item for item in items if item not in allowed]
        if wrong:
            raise InputError(option.name, f"{', '.join(wrong)} not allowed; allowed are {', '.join(allowed)}")
        return items

    return coerce


def _names(option: Option, value: t.Any) -> tuple[str, ...]:
    return tuple(_dns_name(option, item) for item in _strings(option, value))


def _structure(kind: type) -> t.Callable[[Option, t.Any], t.Any]:
    def coerce(option: Option, value: t.Any) -> t.Any:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise InputError(option.name, f"is neither a {kind.__name__} nor JSON of one") from None
        if not isinstance(value, kind):
            raise InputError(option.name, f"must be a {kind.__name__}")
        return value

    return coerce


COERCE: dict[str, t.Callable[[Option, t.Any], t.Any]] = {
    "dns_label": _dns_label,
    "dns_name": _dns_name,
    "bool": _bool,
    "int": _int,
    "port": _port,
    "replicas": _replicas,
    "quantity": _quantity,
    "image": _image,
    "path": _path,
    "str": _str,
    "strings": _strings,
    "names": _names,
    "operations": _one_of(OPERATIONS),
    "gates": _one_of(WAIVABLE),
    "dict": _structure(dict),
    "list": _structure(list),
}


def _given(value: t.Any) -> bool:
    """A survey's empty answer is none: C(""), and the C([""]) a list option makes of it."""
    return value is not None and value != "" and value != [""]


def truth(name: str, value: t.Any) -> bool:
    """A yes or no that is no option of a cluster; false when it is not given. InputError names it."""
    return _given(value) and _bool(Option(name, "bool", ()), value)


def parse_label(name: str, value: t.Any) -> str:
    """A Kubernetes name that is no option of a cluster. InputError names it."""
    return _dns_name(Option(name, "dns_name", ()), value)


def parse_asked(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options that were given, coerced. InputError names the option and what is allowed; costs no request."""
    asked = {
        option.name: COERCE[option.kind](option, params[option.name])
        for option in OPTIONS
        if _given(params.get(option.name))
    }
    for name in ("name", "namespace"):
        if name in params and name not in asked:
            raise InputError(name, "must be given: a DNS label")
    replicas, single = asked.get("replicas"), asked.get("single_node")
    if single and replicas not in (None, 1):
        raise InputError("replicas", f"{replicas} is not allowed with single_node=true; allowed is 1")
    if replicas == 1 and not single:
        raise InputError(
            "replicas",
            "1 is not allowed without single_node=true (a single node can never become a cluster); "
            "allowed are 3 and more",
        )
    if asked.get("engine") in ("kwdb2", "bini") and "brpc_port" in asked:
        raise InputError("brpc_port", f"engine {asked['engine']} has no such port; leave it out")
    return asked


@dataclass(frozen=True)
class Spec:
    """The cluster as it should be: what was asked, over what the cluster remembers, over the defaults.

    asked: names of the options the user gave in this run.
    values: every option's value in force.
    """

    asked: frozenset[str]
    values: t.Mapping[str, t.Any] = field(hash=False)

    def __getattr__(self, name: str) -> t.Any:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def remembered(self) -> dict[str, t.Any]:
        """What the StatefulSet's annotation keeps: given values of everything that is not about one run only."""
        return {
            option.name: _plain(self.values[option.name])
            for option in OPTIONS
            if option.scope not in ("run", "identity")
            and option.name not in ("image", "replicas")
            and self.values[option.name] not in (None, (), {}, [])
        }


def _plain(value: t.Any) -> t.Any:
    return list(value) if isinstance(value, tuple) else value


def resolve(
    asked: t.Mapping[str, t.Any], remembered: t.Mapping[str, t.Any] | None, required: t.Collection[str] | None = None
) -> Spec:
    """Lay what was asked over what the live cluster has (None: there is none) over the defaults.

    required: what a new cluster cannot do without; all options marked so when None. InputError when a new
    cluster lacks a required option, or something fixed would change.
    """
    values = {option.name: option.default for option in OPTIONS}
    if asked.get("single_node"):
        values["replicas"] = 1
    if remembered is None:
        for option in OPTIONS:
            if option.name not in asked and (option.required if required is None else option.name in required):
                allowed = f": {', '.join(option.choices)}" if option.choices else ""
                raise InputError(option.name, f"must be given to create a cluster{allowed}")
    else:
        values.update(
            {
                # Somebody else may have made the StatefulSet of a size that nobody may ask for.
                name: int(value) if name == "replicas" else COERCE[BY_NAME[name].kind](BY_NAME[name], value)
                for name, value in remembered.items()
                if name in BY_NAME
            }
        )
        known = "security" in remembered  # always there; without it the memory was lost, and what is asked for stands
        for name, value in asked.items():
            if known and BY_NAME[name].fixed and name not in ("name", "namespace") and value != values[name]:
                raise InputError(
                    name,
                    f"cannot change while the cluster lives: it is {values[name]!r}, asked is {value!r}; "
                    f"allowed is {values[name]!r}",
                )
    # 500m after 0.5 is the same wish in other words, and restarts nothing.
    again = {
        name
        for name, value in asked.items()
        if BY_NAME[name].kind == "quantity" and quantity.same(value, (remembered or {}).get(name))
    }
    values.update({name: value for name, value in asked.items() if name not in again})
    if asked.get("locality") == "zone" and values["storage"] != "local":
        raise InputError(
            "locality",
            "'zone' is only known where volumes are pinned (storage=local); allowed is none, or --locality in extra_args",
        )
    if values["storage"] == "local" and values["storage_class"] is None:
        values["storage_class"] = "kaiwudb-local"
    return Spec(frozenset(asked), values)
