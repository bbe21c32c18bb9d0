// The login form: a token goes out once, and a cookie that scripts cannot read comes back.

import { $, setText } from "./dom.js";

const home = () => location.replace(`/${location.hash}`);

async function send(event) {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  try {
    const response = await fetch("/login", { method: "POST", body: new URLSearchParams({ token: $("token").value }) });
    if (response.ok) return home();
    wrong((await response.json().catch(() => ({}))).error ?? `HTTP ${response.status}`);
    $("token").select();
  } catch {
    wrong("the server cannot be reached");
  } finally {
    button.disabled = false;
  }
}

function wrong(text) {
  setText($("wrong"), text);
  $("wrong").hidden = false;
}

$("login").addEventListener("submit", send);
// Whoever came here by a link of another site is logged in perhaps: such a link carries no cookie.
fetch("/api/v1/info", { method: "HEAD" }).then((response) => response.ok && home(), () => {});
