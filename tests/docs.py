"""Examples in the documents, and the tables generated from code.

``python -m tests.docs`` writes the tables.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from comfy_ui import errors
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.settings import CHANGEABLE, Settings, variable_of
from comfy_ui.web.auth.access import TABLE, AccessMode
from comfy_ui.web.http.request_budgets import BUDGETS, DEFAULT, RequestBudget

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOP_LEVEL = sorted(ROOT.glob("*.md"))


def examples(text: str, language: str) -> list[str]:
    """The code blocks in that language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def execute(code: str, folder: Path) -> str:
    """Run an example in its own process and return what it prints. Warnings are errors."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "the system's folder for application data"
    value = field.default
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# Every action is in one row; the actions of a row have the same permissions.
PERMISSIONS = {
    "see the page and the presets": ["see"],
    "run presets, cancel, see one's own jobs and results": ["see_own", "run", "cancel"],
    "upload files, enhance prompts, describe images": ["upload", "enhance"],
    "open, run and save any workflow, import styles, replace the system prompt": ["open_workflow"],
    "download, move and delete model files of this machine": ["get_models"],
    "see the server's address, devices and errors, and the log": ["see_server"],
    "free its memory": ["free_memory"],
    "pause and resume the queues of all users": ["pause_all"],
    "connect to another server": ["reconnect"],
    "install and run a ComfyUI on this machine": ["set_up_engine"],
    "import a folder of this machine into the library": ["import_folder"],
    "create and revoke one's own API keys, with a login": ["manage_keys"],
    "run workflows with partner nodes, which cost credits": ["spend"],
    "have the ends of one's own jobs sent to a webhook": ["use_webhooks"],
    "invite and remove users, change their roles and storage, revoke their API keys": [
        "manage_users"
    ],
    "change settings of the running app": ["change_settings"],
}


def permissions_table() -> str:
    """The lowest role for each action, from the table that every handler checks."""
    listed = [action for actions in PERMISSIONS.values() for action in actions]
    assert sorted(listed) == sorted(TABLE), "each action is in PERMISSIONS once"
    rows = []
    for words, actions in PERMISSIONS.items():
        (roles,) = {tuple(TABLE[action][mode] for mode in AccessMode) for action in actions}  # type: ignore[index]
        cells = [role.name.lower() if role is not None else "no one" for role in roles]
        rows.append(f"| {words} | {' | '.join(cells)} |")
    login = "logins with that role"
    rows.append(
        f"| who is admin | everyone, or {login} | {login} | the Space's account, or {login} |"
    )
    head = [f"| | {' | '.join(AccessMode)} |", f"|---{'|---' * len(AccessMode)}|"]
    return "\n".join([*head, *rows]) + "\n"


def budgets_table() -> str:
    """The budget of each request, from the table that the middleware enforces."""
    rows = [_budget_row(budget) for budget in BUDGETS]
    rows.append(_budget_row(DEFAULT).replace("`* /`", "others"))
    columns = ("request", "body", "JSON values", "per user", "in total", "work", "answer")
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*head, *rows]) + "\n"


def _budget_row(budget: RequestBudget) -> str:
    size = budget.body_bytes
    body = "-" if budget.method == "GET" else f"{size // 1024} KB"
    if size >= 2**20:
        body = f"{size // 2**20} MB"
    json = f"{budget.json_items:,}, {budget.json_depth} deep" if budget.json_items else "-"
    path = budget.path + ("*" if budget.path.endswith("/") and len(budget.path) > 1 else "")
    kind = " (stream)" if budget.stream else ""
    work = f"{budget.work.cpu_s} s, {budget.work.memory_bytes // 2**30} GB"
    answer = f"{budget.answer_bytes // 2**20} MB" if budget.answer_bytes else "-"
    cells = (body, json, str(budget.per_caller), f"{budget.total:,}", work, answer)
    return f"| `{budget.method} {path}`{kind} | {' | '.join(cells)} |"


def settings_table() -> str:
    """All settings, from the model itself."""
    head = "| variable | default | what it does | on the page |"
    rows = [
        f"| `{variable_of(name)}` | {_default(name, field)} | {field.description}"
        f" | {'yes' if name in CHANGEABLE else ''} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join([head, "|---|---|---|---|", *rows]) + "\n"


def error_table() -> str:
    """All errors, each below its base class."""
    rows = [
        f"| {_indent(error)}`{error.__name__}` | {_summary(error)} | {error.default_hint} | "
        f"{'yes' if error.default_retryable else ''} |"
        for error in _subclasses(ComfyHeadlessError)
    ]
    head = ["| error | when | default hint | retryable |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _subclasses(error: type[ComfyHeadlessError]) -> Iterator[type[ComfyHeadlessError]]:
    yield error
    for kind in error.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _subclasses(kind)


def _indent(error: type[ComfyHeadlessError]) -> str:
    return "–\u00a0" * (error.__mro__.index(ComfyHeadlessError))


def _summary(error: type[ComfyHeadlessError]) -> str:
    docstring = inspect.getdoc(error) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`")


# (program, call, what comes back, the test that shows it). Each test is the program's own client,
# or sends the program's requests byte for byte.
_IMAGES = "tests/security/test_images_api.py"
_MCP = "tests/security/test_mcp.py"
_HOOKS = "tests/web/test_webhooks.py"
_V2 = "tests/client/api/test_v2_api.py"
CLIENTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "OpenAI SDK for Python",
        "list models",
        "the presets that are ready",
        f"{_IMAGES}::test_sdk_lists_models_that_are_ready",
    ),
    (
        "",
        "generate with `n`",
        "one job with a batch, in Library",
        f"{_IMAGES}::test_sdk_generates_a_batch_that_is_one_job_in_the_library",
    ),
    (
        "",
        "generate with `stream`",
        "previews, then the image",
        f"{_IMAGES}::test_sdk_streams_partial_images_then_the_finished_one",
    ),
    ("", "edit with a mask", "the edited image", f"{_IMAGES}::test_sdk_edits_an_image_with_a_mask"),
    (
        "",
        "`response_format` url",
        "a file that the key opens",
        f"{_IMAGES}::test_sdk_url_is_a_file_that_the_key_opens",
    ),
    (
        "",
        "`Idempotency-Key`",
        "one job, found again",
        f"{_IMAGES}::test_sdk_idempotency_key_makes_one_job_for_one_user",
    ),
    (
        "",
        "a call that fails",
        "the SDK's own errors, with our hint",
        f"{_IMAGES}::test_sdk_errors_are_those_of_the_sdk",
    ),
    (
        "OpenAI SDK for Python, async",
        "generate",
        "the image of the default preset",
        f"{_IMAGES}::test_async_sdk_generates_without_a_model_or_size",
    ),
    (
        "",
        "generate with `stream`",
        "previews, then the image",
        f"{_IMAGES}::test_async_sdk_streams",
    ),
    (
        "OpenAI SDK for Node",
        "list, generate, stream, edit",
        "models, images, previews",
        f"{_IMAGES}::test_node_sdk_lists_generates_streams_and_edits",
    ),
    ("Open WebUI", "generate", "images as base64", f"{_IMAGES}::test_open_webui_generates"),
    ("", "edit", "the edited image", f"{_IMAGES}::test_open_webui_edits"),
    ("LibreChat", "generate", "the image", f"{_IMAGES}::test_librechat_generates"),
    (
        "SillyTavern",
        "list models, generate",
        "models, the image",
        f"{_IMAGES}::test_sillytavern_lists_models_and_generates",
    ),
    (
        "MCP SDK, protocols 2025-11-25 and 2026-07-28",
        "list tools, prompts, resources",
        "ten tools with schemas of their results",
        f"{_MCP}::test_mcp_client_of_either_protocol_lists_tools_prompts_and_templates",
    ),
    (
        "",
        "call `generate`",
        "progress, an image, a link, a resource",
        f"{_MCP}::test_mcp_client_of_either_protocol_receives_progress_pictures_and_resources",
    ),
    (
        "",
        "cancel a call",
        "its job is canceled",
        f"{_MCP}::test_mcp_call_cancelled_by_the_client_cancels_its_job",
    ),
    (
        "",
        "call `generate` below a path of nginx",
        "links below that path",
        "tests/browser/test_below_a_path.py::test_mcp_client_of_either_protocol_works_below_a_path",
    ),
    (
        "MCP SDK 1.30 and 2.3 for Python",
        "call every tool as admin, user and guest",
        "results, or a refusal",
        "tests/security/test_mcp_sdk.py::test_mcp_sdk_admin_calls_every_tool",
    ),
    (
        "Standard Webhooks library",
        "verify a message",
        "its signature is genuine",
        f"{_HOOKS}::test_webhook_sender_signs_as_standard_webhooks_verify",
    ),
    (
        "Receivers of webhooks",
        "refuse a message",
        "it comes again until accepted",
        f"{_HOOKS}::test_webhook_sender_retries_the_same_message_until_it_is_accepted",
    ),
    (
        "",
        "`x_comfy_ui.webhook`",
        "the message has the images",
        f"{_IMAGES}::test_webhook_of_a_request_receives_the_images_that_it_made",
    ),
    (
        "comfy-api-proxy, as a server of this app",
        "upload, run, download",
        "the file, at 100 %",
        f"{_V2}::test_v2_proxy_runs_a_job_with_an_upload_and_returns_its_file",
    ),
    (
        "",
        "a wrong workflow, cancel, an unknown id",
        "errors with reasons; the job stops",
        f"{_V2}::test_v2_proxy_refuses_with_node_errors_and_cancels",
    ),
)


def clients_table() -> str:
    """The programs that are tested, with their calls; each row has a test that exists."""
    for _, _, _, test in CLIENTS:
        path, _, name = test.partition("::")
        source = (DOCS.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"no test {test}"
    rows = [f"| {client} | {call} | {result} |" for client, call, result, _ in CLIENTS]
    return "\n".join(["| program | call | result |", "|---|---|---|", *rows]) + "\n"


# mark in the page -> (page, table); the table follows the mark, up to the next blank line.
TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "settings": (DOCS / "use" / "settings.md", settings_table),
    "errors": (DOCS / "library" / "errors.md", error_table),
    "clients": (DOCS / "use" / "openai-api.md", clients_table),
    "permissions": (DOCS / "develop" / "security-model.md", permissions_table),
    "budgets": (DOCS / "develop" / "security-model.md", budgets_table),
}


def with_table(text: str, name: str) -> str:
    """The page's text with its generated table up to date."""
    mark = f"<!-- {name} -->\n"
    before, separator, after = text.partition(mark)
    assert separator, f"the page has no {mark}"
    rest = re.sub(r"\A\n(?:\|.*\n)*\n*", "", after)
    return f"{before}{mark}\n{TABLES[name][1]()}\n{rest}"


if __name__ == "__main__":
    for table, (page, _) in TABLES.items():
        page.write_text(with_table(page.read_text(encoding="utf-8"), table), encoding="utf-8")
