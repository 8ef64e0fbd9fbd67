// Calls the Images API with OpenAI's SDK for Node and prints what came back as JSON.
import OpenAI, { toFile } from "openai";
import { readFileSync } from "node:fs";

const [baseURL, apiKey, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const small = { x_comfy_ui: { steps: 2, width: 384, height: 384 } };
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const made = await client.images.generate({ model: "sd15", prompt: "a harbor", ...small });
const events = [];
for await (const event of await client.images.generate({ model: "sd15", prompt: "a", stream: true, ...small })) events.push(event.type);
const image = await toFile(readFileSync(file), "image.png", { type: "image/png" });
const edited = await client.images.edit({ model: "sdxl_img2img", image, prompt: "a door", x_comfy_ui: { steps: 2 } });
const failed = await client.images.generate({ model: "sd_15", prompt: "a" }).catch((error) => [error.status, error.code]);
const png = ({ data: [first] }) => Buffer.from(first.b64_json, "base64").subarray(1, 4).toString();
console.log(JSON.stringify({ models, made: png(made), events, edited: png(edited), failed }));
