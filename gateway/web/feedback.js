// Feedback: "Right" and "Wrong? It is …" under each answer, sent to the gateway's prediction log.

import { call, requestIdOf } from "./api.js";
import { byId, element, load, t } from "./page.js";
import { toast } from "./toast.js";
import { said } from "./words.js";

const rows = new WeakMap();

/** The feedback row of an answer. An answer keeps its row, and with it what was said, when its tile is drawn again. */
export function feedbackRow(photo, answer) {
  if (!rows.has(answer)) rows.set(answer, makeRow(photo.name, answer));
  return rows.get(answer);
}

function makeRow(name, answer) {
  const row = element("div", { className: "actions feedback", role: "group", ariaLabel: t("feedback", { name }) });

  /** Shows the question, or what was said. Keeps the focus in the row. */
  function show(text) {
    const focused = row.contains(document.activeElement);
    row.replaceChildren(...(text ? [element("p", { dir: "auto" }, text), button(t("undo"), () => send("withdrawn"))] : question()));
    byId("announce").textContent = text;
    if (focused) row.querySelector("button").focus();
  }

  function question() {
    const { label } = answer;
    if (label === null) return [button(t("itIs"), correct)];
    const named = [label, `${label}?`].includes(said(answer)[0]); // not "Boxer or Pug?", where Right alone is unclear
    const right = button(named ? t("right") : t("rightLabel", { label }), () => send("right", { text: t("saidRight") }));
    right.ariaLabel = t("rightLabel", { label });
    return [right, button(t("wrong"), correct)];
  }

  async function correct() {
    const picked = await (await load("./pick.js"))?.pickLabel(answer);
    if (picked === null) await send("none", { text: t("saidNone") });
    else if (picked) await send("wrong", { label: picked, text: t("saidLabel", { label: picked }) });
  }

  async function send(verdict, { label, text = "" } = {}) {
    const { name: model, version } = answer.model;
    const body = { request_id: requestIdOf(answer), model, version, verdict, label };
    await call("/api/v1/feedback", { body: JSON.stringify(body), type: "application/json" });
    show(text);
  }

  function button(text, act) {
    const made = element("button", { type: "button", className: "quiet" }, text);
    made.addEventListener("click", async () => {
      if (row.ariaBusy) return;
      row.ariaBusy = "true";
      try {
        await act();
      } catch (error) {
        toast(error.message);
      }
      row.ariaBusy = null;
    });
    return made;
  }

  row.append(...question());
  return row;
}
