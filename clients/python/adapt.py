"""Changes the generated code in the current folder, before openapi-python-client formats it."""

import re
from pathlib import Path

SECRET = r"(    \w*(?:password|token|code|secret): (?:None [|] )?str(?: [|] Unset)?)"
IS_PROBLEM = '"application/problem+json" in response.headers.get("Content-Type", "")'


def replace(files: str, *replacements: tuple[str, str]) -> None:
    """Replaces text that begins at the start of a line."""
    for path in Path().glob(files):
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in replacements:
            text = re.sub(f"(?m)^{pattern}", replacement, text)
        path.write_text(text, encoding="utf-8")


# Keep secrets out of the `repr` of objects, which tracebacks may contain.
replace(
    "models/*.py",
    (f"{SECRET} = UNSET$", r"\1 = _attrs_field(default=UNSET, repr=False)"),
    (f"{SECRET}$", r"\1 = _attrs_field(repr=False)"),
)
replace(
    "client.py",
    (f"{SECRET}$", r"\1 = field(repr=False)"),
    (r"(    _(?:cookies|headers|httpx_args): .*)\)$", r"\1, repr=False)"),
)
replace(
    "types.py",
    ("from attrs import define$", r"\g<0>, field"),
    ("    content: bytes$", r"\g<0> = field(repr=False)"),
    ("    status_code: HTTPStatus$", "    status_code: int"),
)
# A proxy or the API gateway can respond with a body that is not a problem.
replace(
    "api/**/*.py",
    (r"( +if response\.status_code == \d+)(:\n.* = Problem\.from_dict)", rf"\1 and {IS_PROBLEM}\2"),
    # `HTTPStatus` does not accept all statuses of proxies.
    (r"( +status_code=)HTTPStatus\((.*)\),$", r"\1\2,"),
)
