import asyncio
import urllib.request

from litellm.router import CustomRoutingStrategyBase

class LlmwatchRouting(CustomRoutingStrategyBase):
    """Uses the deployment that llmwatch names: the `id` of each deployment is the name of its endpoint."""

    def __init__(self, router, group, url="http://127.0.0.1:8686"):
        self.router, self.url = router, f"{url}/api/v1/route?group={group}&format=text"

    def get_available_deployment(self, model, *args, **kwargs):
        try:
            name = urllib.request.urlopen(self.url, timeout=0.2).read().decode().strip()
        except OSError:
            name = None
        mine = [d for d in self.router.model_list if d["model_name"] == model]
        return next((d for d in mine if d["model_info"]["id"] == name), mine[0])

    async def async_get_available_deployment(self, model, *args, **kwargs):
        return await asyncio.to_thread(self.get_available_deployment, model)
