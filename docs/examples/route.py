import urllib.request

def best(clients, fallback, url="http://127.0.0.1:8686/api/v1/route?group=chat&format=text"):
    """The client of the endpoint to use now; `fallback` if llmwatch does not answer."""
    try:
        return clients[urllib.request.urlopen(url, timeout=0.2).read().decode().strip()]
    except (OSError, KeyError):
        return clients[fallback]
