import { HandstampProvider } from "@handstamp/browser/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";
import { client } from "./auth.js";

createRoot(document.getElementById("app")).render(
  <StrictMode>
    <HandstampProvider client={client}>
      <App />
    </HandstampProvider>
  </StrictMode>,
);
