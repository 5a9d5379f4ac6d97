// The API gives the URL of the service. If the URL is known in advance, use a plain `import … from "https://…"`.
const { auth: url } = await (await fetch("settings")).json();
const { createClient } = await import(`${url}/handstamp.js`);
const auth = createClient({ url, apis: [location.origin] });
const $ = (id) => document.getElementById(id);

async function showOrders() {
  const { orders } = await (await auth.fetch("orders")).json();
  $("orders").replaceChildren(...orders.map((number) => Object.assign(document.createElement("li"), { textContent: `Order ${number}` })));
}

async function show(state) {
  $("offline").hidden = state.online !== false;
  $("signed-in").hidden = state.status !== "signed-in";
  $("signed-out").hidden = state.status !== "signed-out";
  if (state.status === "signed-out") $("who").textContent = "You are signed out.";
  if (state.status !== "signed-in") return;
  $("who").textContent = (await auth.profile()).email;
  await showOrders();
}

const tell = (error) => ($("who").textContent = error.message);
auth.onChange((state) => show(state).catch(tell));
$("sign-in").href = `${url}/sign-in?return_to=${encodeURIComponent(location.href)}`;
$("place").onclick = () => auth.fetch("orders", { method: "POST" }).then(showOrders).catch(tell);
$("sign-out").onclick = () => auth.signOut().catch(tell);
show(auth.state).catch(tell);
