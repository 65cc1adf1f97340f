import { mount } from "svelte";
import App from "./App.svelte";
import { input, long } from "./long.js";
import { Page } from "./page.svelte.js";
import "./page.css";
import { prove } from "./replay.js";

const page = new Page(JSON.parse(document.getElementById("data").textContent));
window.lstmcore = { page, prove, long, input }; // for a console, and for tests
mount(App, { target: document.getElementById("app"), props: { page } });
