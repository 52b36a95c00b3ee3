// Takes photos that another app shares with the installed page, and hands them to it. All else goes by untouched.

const SHELF = "shared-photos"; // what shared.js reads

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "POST" && new URL(url).pathname === "/share") event.respondWith(take(event.request));
});

async function take(request) {
  const photos = (await request.formData()).getAll("photos").filter((one) => one instanceof File);
  const shelf = await caches.open(SHELF);
  await Promise.all(
    photos.map((photo, at) => {
      const headers = { "Content-Type": photo.type || "application/octet-stream", "X-Name": encodeURIComponent(photo.name) };
      return shelf.put(`/share/${at}`, new Response(photo, { headers }));
    }),
  );
  return Response.redirect("/?shared", 303);
}
