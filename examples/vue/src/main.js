import { handstamp } from "@handstamp/browser/vue";
import { createApp } from "vue";
import App from "./App.vue";
import { client } from "./auth.js";

createApp(App).use(handstamp(client)).mount("#app");
