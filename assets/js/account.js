// @ts-check
// The user's own login and, for admins, users and invitations: the panel on Status.
"use strict";
(() => {
  const { $, $$, post, toast } = window.comfy.kit;

  /** @param {{ html: string } | null} answer */
  function take(answer) {
    if (!answer) return;
    for (const place of $$("[data-account]")) {
      place.innerHTML = answer.html;
      place.hidden = !answer.html;
      window.comfy.translate(place);
      const users = $(".users", place);
      for (const other of $$("[data-users]")) {
        other.replaceChildren(...(users ? [users] : []));
        other.hidden = !users;
      }
      const code = users && $("[data-invitation]", users);
      if (!code) continue;
      // Behind "#", which browsers keep to themselves: the code reaches no log of a server.
      const page = code.dataset.link || `${location.origin}${location.pathname}`;
      code.textContent = `${page}#invitation=${code.dataset.invitation}`;
      $("[data-copy]", users).dataset.copy = code.textContent;
    }
  }
  async function show() {
    const answer = await fetch("account").catch(() => null);
    if (answer?.ok) take(await answer.json());
  }
  /** @param {FormData} fields */
  async function changePassword(fields) {
    const [current, password] = [fields.get("current"), fields.get("password")];
    const answer = await post("account/password", { current, password });
    if (!answer) return;
    const body = new URLSearchParams({ username: answer.username, password: String(password) });
    await fetch(`login${answer.remembered ? "?remember=1" : ""}`, { method: "POST", body }).catch(() => null);
    toast("Password changed. Other devices have to log in again.");
    show();
  }
  document.addEventListener("submit", (/** @type {On<SubmitEvent>} */ event) => {
    if (event.target.dataset.form !== "password") return;
    event.preventDefault();
    changePassword(new FormData(event.target));
  });
  Object.assign(window.comfy.actions, {
    async "log-out-everywhere"() {
      if (await post("account/log-out", { everywhere: true })) location.reload();
    },
    async invite(button) {
      take(await post("account/invite", { role: button.dataset.role }));
    },
    async "take-back"(button) {
      take(await post("account/take-back", { id: button.dataset.id }));
    },
    async "change-user"(button) {
      const { name, role } = button.dataset;
      const answer = await post("account/user", { name, role });
      take(answer);
      if (answer && role === "none") toast("The login is gone. The results stay.");
    },
  });
  window.comfy.onIsland((element) => {
    if (element.querySelector("[data-account]")) show();
  });
})();
