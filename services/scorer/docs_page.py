"""`/docs`: the API's description as one page without scripts.

The framework's own page loads its scripts from a stranger's host. Where people try keys, those scripts could read them;
and on a machine without the internet that page stays empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Nothing is loaded, run, sent or framed."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font-size:.9em}pre{overflow:auto;background:#8882;padding:.8rem}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}h2{margin-top:2.5rem}"
)


def docs_page(document: Mapping[str, Any]) -> HTMLResponse:
    """The page of an OpenAPI document."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    calls = "".join(
        _call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(
        f"<details id='{escape(name, quote=True)}'><summary><code>{escape(name)}</code></summary>"
        f"<pre>{escape(json.dumps(schema, indent=2))}</pre></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>For programs: <a href='/openapi.json'>/openapi.json</a></p>{calls}<h2>Schemas</h2>{schemas}</body></html>"
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"})


def _call(method: str, path: str, operation: Mapping[str, Any]) -> str:
    sent = [
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td></tr>"
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    sent += [f"<tr><td>body</td><td>{escape(kind)}{_schema(one)}</td></tr>" for kind, one in body.items()]
    answers = "".join(
        f"<tr><td>{escape(str(status))}</td><td>{escape(answer['description'])}"
        f"{''.join(_schema(one) for one in answer.get('content', {}).values())}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    key = "<p>Needs a key: <code>Authorization: Bearer …</code></p>" if operation.get("security") else ""
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}. "
        f"{escape(operation.get('description', ''))}</p>{key}"
        + (f"<h3>Sent</h3><table>{''.join(sent)}</table>" if sent else "")
        + f"<h3>Answered</h3><table>{answers}</table>"
    )


def _schema(content: Mapping[str, Any]) -> str:
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f": <a href='#{escape(name, quote=True)}'>{escape(name)}</a>" if name else ""
