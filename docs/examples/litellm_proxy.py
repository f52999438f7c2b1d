import asyncio
import urllib.request

from litellm.integrations.custom_logger import CustomLogger

class LlmwatchRouting(CustomLogger):
    """Keeps only the deployment that llmwatch recommends. The `id` of each deployment is the name of its endpoint."""

    def __init__(self, group, url="http://127.0.0.1:8686"):
        super().__init__()
        self.url = f"{url}/api/v1/route?group={group}&format=text"

    def choice(self):
        try:
            return urllib.request.urlopen(self.url, timeout=0.2).read().decode().strip()
        except OSError:
            return None

    async def async_filter_deployments(self, model, healthy_deployments, messages, request_kwargs=None, parent_otel_span=None):
        name = await asyncio.to_thread(self.choice)
        return [d for d in healthy_deployments if d["model_info"]["id"] == name] or healthy_deployments

routing = LlmwatchRouting("chat")
