import { mount } from "svelte";
import App from "./App.svelte";
import "./page.css";

const data = JSON.parse(document.getElementById("data").textContent);
mount(App, { target: document.getElementById("app"), props: { data } });
