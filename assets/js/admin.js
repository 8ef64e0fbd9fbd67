// @ts-check
// What admins see of all users on Status: storage, API keys, and the log, which is read while it is open.
"use strict";
(() => {
  const { $, $$, make, post, toast } = window.comfy.kit;
  const EVERY_MS = 2000;
  const MOST_LINES = 1000;

  /** @param {{ html: string } | null} answer */
  function take(answer) {
    if (!answer) return;
    for (const place of $$("[data-admin]")) {
      const open = $$("details[open]", place).map((part) => part.dataset.part);
      place.innerHTML = answer.html;
      place.hidden = false;
      for (const part of open) $(`[data-part="${part}"]`, place).open = true;
      window.comfy.translate(place);
    }
  }
  async function show() {
    const answer = await fetch("admin").catch(() => null);
    if (answer?.ok) take(await answer.json());
  }

  // ---- log -----------------------------------------------------------------------------------

  let last = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const part = () => $("[data-admin] [data-part=log][open]");

  function wanted() {
    const form = $("form", part()).elements;
    return new URLSearchParams({ level: form.level.value, text: form.text.value.trim() });
  }
  async function read() {
    clearTimeout(timer);
    if (!part()) return;
    timer = setTimeout(read, EVERY_MS);
    if (!part().offsetParent || document.hidden) return;
    const query = wanted();
    $("a", part()).href = `admin/log.txt?${query}`;
    query.set("after", String(last));
    const answer = await fetch(`admin/log?${query}`).catch(() => null);
    if (!answer?.ok || !part()) return;
    const { lines, last: newest } = await answer.json();
    if (!lines.length) return;
    last = newest;
    const box = $("pre", part());
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(...lines.map(({ level, text }) => make("span", { className: level, textContent: `${text}\n` })));
    while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
    if (follows) box.scrollTop = box.scrollHeight;
  }
  function again() {
    last = 0;
    $("pre", part()).replaceChildren();
    read();
  }
  document.addEventListener("toggle", (/** @type {On<Event>} */ event) => event.target.dataset?.part === "log" && event.target.open && again(), true);
  document.addEventListener("input", (/** @type {On<Event>} */ event) => event.target.closest?.("[data-form=log]") && again());

  // ---- changes -------------------------------------------------------------------------------

  document.addEventListener("submit", async (/** @type {On<SubmitEvent>} */ event) => {
    const { form, user } = event.target.dataset;
    if (form === "log") return event.preventDefault();
    if (form !== "storage-limit") return;
    event.preventDefault();
    const text = event.target.elements.limit_gb.value.trim().replace(",", ".");
    const answer = await post("admin/storage", { user_id: user, limit_gb: text ? Number(text) : null });
    take(answer);
    if (answer) toast("Limit saved");
  });
  Object.assign(window.comfy.actions, {
    "revoke-any-key": async (button) => take(await post("admin/revoke-key", { id: button.dataset.id })),
  });
  window.comfy.onIsland((element) => {
    if (element.querySelector("[data-admin]")) show();
  });
})();
