// Refusals as they are made: 100 of them, or those of 10 minutes. Loaded when somebody asks for them.
"use strict";
{
  const MOST = 100;
  const rows = one("#live-rows");
  let tap;

  /* What cannot be seen is spelt out, as number.rs does. */
  const outside = (text) =>
    text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (mark) => `\\u{${mark.codePointAt(0).toString(16)}}`);

  function add({ time, client, agent, decided_by, outcome, reason }) {
    const row = document.createElement("tr");
    for (const text of [time.slice(11, 19), client, agent, decided_by, reason || outcome]) {
      row.insertCell().textContent = outside(text ?? "");
    }
    rows.prepend(row);
  }

  async function follow(signal) {
    const field = (name) => one(`#refused [name=${name}]`).value.trim() || undefined;
    const text = field("text")?.toLowerCase();
    const [from, info_hash, policy] = ["address", "info_hash", "policy"].map(field);
    const answer = await fetch("/api/tap", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ from, info_hash, policy, outcome: ["rejected", "dropped"] }),
      signal,
    });
    if (!answer.ok) throw new Error(await answer.text());
    one("#live-box").hidden = false;
    one("#live-switch").textContent = "Stop";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean).map((line) => JSON.parse(line))) {
        if (!line.client || (text && !line.reason?.toLowerCase().includes(text))) continue;
        add(line);
        if (rows.rows.length >= MOST) return;
      }
    }
  }

  /* Begins, or ends what has begun. */
  window.goLive = async (button) => {
    if (tap) return tap.abort();
    tap = new AbortController();
    const said = one("#live-said");
    said.hidden = true;
    rows.replaceChildren();
    try {
      await follow(tap.signal);
    } catch (error) {
      said.hidden = error.name === "AbortError";
      said.textContent = outside(error.message.trim());
    }
    tap.abort();
    tap = undefined;
    button.textContent = "Live";
    say("No longer live.");
  };
  document.addEventListener("visibilitychange", () => document.hidden && tap?.abort());
}
