"""Which model names say exactly one model (M017). Pure."""

import re

# Words by which a provider promises nothing: what they name changes without anybody here doing anything.
_MOVING = frozenset(
    {"latest", "default", "auto", "stable", "current", "newest", "nightly", "main", "master", "live", "edge"}
)
_WORDS = re.compile(r"[^a-z0-9]+")
_PIN = re.compile(
    r"""
      (?<![0-9]) 20[0-9]{2} -? (?:0[1-9]|1[0-2]) -? (?:0[1-9]|[12][0-9]|3[01]) (?![0-9])  # a date
    | - [0-9]{3,4} (?![0-9a-z])                                                           # a revision such as -002, -0613
    | @ [A-Za-z0-9][A-Za-z0-9._:-]*                                                       # @revision, @sha256:…
    | : [A-Za-z0-9][A-Za-z0-9._-]*                                                        # a tag of a local registry
    """,
    re.VERBOSE,
)


def pin_problem(model: str) -> str:
    """Why the name does not say exactly one model, in a sentence for the person who typed it; "" when it does."""
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", model):
        return "A model is 1 to 200 visible ASCII characters."
    moving = _MOVING.intersection(_WORDS.split(model.lower()))
    if moving:
        return f"{model!r} moves: {min(moving)!r} means another model tomorrow. Name a dated version."
    if not _PIN.search(model):
        return (
            f"{model!r} names a family, not one model. Add its date or revision, for example "
            f"{model}-2026-11-01, or {model}@revision for a model you serve yourself."
        )
    return ""
