// The client of the endpoint to use now; `fallback` if llmwatch does not answer.
export async function best(clients, fallback, url = "http://127.0.0.1:8686/api/v1/route?group=chat&format=text") {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(200) });
    if (answer.ok) return clients[(await answer.text()).trim()] ?? clients[fallback];
  } catch {
    // No answer in time: the default.
  }
  return clients[fallback];
}
