// @ts-check
// "Tools" on a result: ComfyUI's blueprints that take it, in a dialog.
"use strict";
(() => {
  const { $, make, dialog, insist, named, recall, toast, toCreate } = window.comfy.kit;
  const { getJson } = window.comfy.workflows;

  /** @param {string} item @param {Record<string, any>} tool */
  async function use(item, tool) {
    $("#viewer")?.close();
    const way = `tool:${tool.id}`;
    if (tool.form) return recall({ item, what: way });
    const answer = await insist("create/go-on", { way, items: [Number(item)], press: named() });
    if (!answer) return;
    toCreate();
    window.comfy.notice(answer.notice);
    window.comfy.queued(answer);
  }
  window.comfy.actions.tools = async (button) => {
    const { item } = button.dataset;
    button.disabled = true;
    const answer = await getJson(`blueprints?${new URLSearchParams({ item })}`);
    button.disabled = false;
    if (!answer) return toast("The tools cannot be listed now");
    /** @type {Map<string, AnyElement[]>} */
    const groups = new Map();
    for (const tool of answer.tools) {
      const name = tool.form ? `${tool.title} …` : tool.title;
      const entry = make("button", { type: "button", className: "act", textContent: name, translate: false, onclick: () => (box.close(), use(item, tool)) });
      groups.set(tool.group, [...(groups.get(tool.group) ?? []), entry]);
    }
    const lists = [...groups].map(([group, entries]) =>
      make("section", {}, group && make("h3", { textContent: group, translate: false }), make("div", { className: "acts" }, ...entries)),
    );
    const none = make("p", { className: "quiet", textContent: "ComfyUI has no tool for this result whose nodes and models are there." });
    const box = dialog("tools", "Tools", make("h2", { textContent: "Tools" }), ...(lists.length ? lists : [none]));
    window.comfy.translate(box);
    $(".acts button", box)?.focus();
  };
})();
