// @ts-check
// The list of servers on Status, for admins. A server is tested before it is saved.
"use strict";
(() => {
  const { $, $$, ask, make, toast, dialog } = window.comfy.kit;

  /** @param {string} html */
  function draw(html) {
    for (const place of $$("[data-servers]")) {
      place.innerHTML = html;
      place.hidden = false;
      window.comfy.translate(place);
    }
  }
  async function show() {
    const answer = await fetch("admin/servers").catch(() => null);
    if (answer?.ok) draw((await answer.json()).html);
  }
  /** @param {AnyElement} form */
  function entered(form) {
    const { address, name, parallel_jobs: jobs, username, token, password, headers, clear } = form.elements;
    // null: the stored one stays
    const secret = (field) => field.value || (clear?.checked || !form.dataset.id ? "" : null);
    return {
      id: form.dataset.id, address: address.value, name: name.value, username: username.value,
      parallel_jobs: jobs.value.trim() ? Number(jobs.value) || 0 : null,
      token: secret(token), password: secret(password), headers: secret(headers),
    };
  }
  /** @param {AnyElement} form @param {string} text @param {boolean} good */
  function said(form, text, good = false) {
    const place = $(".said", form);
    place.textContent = text;
    place.hidden = !text;
    place.classList.toggle("trouble", !good);
  }
  /** @param {AnyElement} form @param {string} action @param {unknown} data @returns {Promise<any>} */
  async function act(form, action, data) {
    const buttons = $$("button", form);
    for (const button of buttons) button.disabled = true;
    said(form, action === "remove" ? "" : "Connecting…", true);
    const answer = await ask(`admin/servers/${action}`, data);
    for (const button of buttons) button.disabled = false;
    if (answer.error) said(form, answer.error);
    return answer.error ? null : answer;
  }
  /** @param {AnyElement} form */
  async function test(form) {
    const answer = await act(form, "test", entered(form));
    if (answer) said(form, answer.text, true);
    return answer !== null;
  }
  /** @param {AnyElement} form */
  async function save(form) {
    const anyway = form.dataset.failed === JSON.stringify(entered(form));
    if (!anyway && !(await test(form))) {
      form.dataset.failed = JSON.stringify(entered(form));
      $("button.strong", form).textContent = "Save anyway";
      return;
    }
    const answer = await act(form, "save", entered(form));
    if (!answer) return;
    draw(answer.html);
    toast("Saved");
  }
  /** @param {AnyElement} form */
  function remove(form) {
    const confirmed = async () => {
      box.close();
      const answer = await act(form, "remove", { id: form.dataset.id });
      if (answer) draw(answer.html);
    };
    const box = dialog(
      "confirm-delete", "Remove the server?",
      make("h2", { textContent: "Remove the server?" }),
      make("p", { className: "quiet", textContent: "Its waiting jobs run on the other servers. Jobs that it has started are run again there." }),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act danger", textContent: "Remove", onclick: confirmed }), make("button", { type: "button", className: "act", textContent: "Cancel", onclick: () => box.close() })),
    );
  }
  document.addEventListener("submit", (/** @type {On<SubmitEvent>} */ event) => {
    if (event.target.dataset?.form !== "server") return;
    event.preventDefault();
    save(event.target);
  });
  Object.assign(window.comfy.actions, {
    "test-server": (button) => test(button.closest("form")),
    "remove-server": (button) => remove(button.closest("form")),
  });
  window.comfy.onIsland((element) => {
    if (element.querySelector("[data-servers]")) show();
  });
})();
