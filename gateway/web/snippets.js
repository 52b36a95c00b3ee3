// The request as code, with the real address and model, but without a key.

/**
 * @param {{path: string, file: string, keyed: boolean}} request `path` of the API; `keyed`: an API key is required, and
 *   the code reads it from the environment.
 * @returns {[string, string][]} Language and code.
 */
export function snippets({ path, file, keyed }) {
  const url = new URL(path, location.origin).href;
  const name = JSON.stringify(file); // a string in Python, JavaScript and Go as well
  return [
    ["curl", [`curl -F ${curlFile(file)}`, ...(keyed ? ['-H "X-API-Key: $API_KEY"'] : []), `"${url}"`].join(" \\\n  ")],
    [
      "Python",
      `${keyed ? "import os\n\n" : ""}import httpx

with open(${name}, "rb") as photo:
    answer = httpx.post(
        "${url}",
        files={"image": photo},${keyed ? '\n        headers={"X-API-Key": os.environ["API_KEY"]},' : ""}
    )
answer.raise_for_status()
print(answer.json())`,
    ],
    [
      "JavaScript",
      `import { openAsBlob } from "node:fs";

const form = new FormData();
form.append("image", await openAsBlob(${name}), ${name});
const answer = await fetch("${url}", {
  method: "POST",
  body: form,${keyed ? '\n  headers: { "X-API-Key": process.env.API_KEY },' : ""}
});
if (!answer.ok) throw new Error(await answer.text());
console.log(await answer.json());`,
    ],
    [
      "Go",
      `package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	photo, err := os.ReadFile(${name})
	if err != nil {
		panic(err)
	}
	request, err := http.NewRequest("POST", "${url}", bytes.NewReader(photo))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/octet-stream")${keyed ? '\n\trequest.Header.Set("X-API-Key", os.Getenv("API_KEY"))' : ""}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.Status, string(body))
}`,
    ],
  ];
}

/** The form field with the file, quoted for curl, where a comma or semicolon would end the name, and for the shell. */
function curlFile(file) {
  const field = `image=@"${file.replace(/[\\"]/g, "\\$&")}"`;
  return `'${field.replaceAll("'", "'\\''")}'`;
}
