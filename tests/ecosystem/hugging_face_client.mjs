// Calls of Hugging Face's own JavaScript client: `hugging_face_client.mjs MODEL_URL PHOTO` prints what came back.
import { readFile } from "node:fs/promises";
import { InferenceClient } from "@huggingface/inference";

const [url, path] = process.argv.slice(2);
const file = await readFile(path);
const client = new InferenceClient("anything", { endpointUrl: url });
const labels = async (answer) => (await answer).map((one) => one.label);

let refused = "";
try {
    await client.imageClassification({ data: new Blob(["not an image"]) });
} catch (error) {
    refused = error.message;
}
console.log(
    JSON.stringify({
        blob: await labels(client.imageClassification({ data: new Blob([file], { type: "image/jpeg" }) })),
        untyped: await labels(client.imageClassification({ inputs: new Blob([file]) })),
        endpoint: await labels(new InferenceClient().endpoint(url).imageClassification({ data: new Blob([file]) })),
        refused,
    }),
);
