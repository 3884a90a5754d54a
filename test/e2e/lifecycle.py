"""The life of an endpoint through huggingface_hub; run by clients.test.ts."""

import os
import time

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from openai import OpenAI

constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["API"] + "/v2"

image = {
    "llamacpp": {
        "url": os.environ["IMAGE"],
        "ctxSize": 1024,
        "nParallel": 2,
        "threadsHttp": 2,
        "modelPath": os.environ["FILE"],
    }
}
endpoint = huggingface_hub.create_inference_endpoint(
    "client",
    repository=os.environ["MODEL"],
    framework="llamacpp",
    custom_image=image,
    accelerator="cpu",
    vendor="docker",
    region="local",
    instance_type="cpu",
    instance_size="x1",
    min_replica=0,
    max_replica=1,
    scale_to_zero_timeout=15,
    secrets={"HIDDEN": "never to be seen"},
    env={"SEEN": "1"},
)
assert endpoint.status in ("pending", "initializing"), endpoint.status
assert endpoint.namespace == os.environ["NAMESPACE"], endpoint.namespace
endpoint.wait(timeout=90, refresh_every=1)
assert endpoint.status == "running", endpoint.status
assert "never to be seen" not in str(endpoint.raw), endpoint.raw

# The stream ends with the client that opened it, so the client is kept.
inference = endpoint.client
answer = inference.chat_completion([{"role": "user", "content": "Say hello."}], max_tokens=16)
assert answer.choices[0].message.content
streamed = inference.chat_completion([{"role": "user", "content": "Say hello."}], max_tokens=16, stream=True)
assert sum(1 for _ in streamed) > 3
client = OpenAI(base_url=endpoint.url + "/v1", api_key=os.environ["HF_TOKEN"])
assert client.chat.completions.create(
    model="any", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
).choices

assert [e.name for e in huggingface_hub.list_inference_endpoints()] == ["client"]
assert huggingface_hub.get_inference_endpoint("client").status == "running"

# Another context size needs another container; the old one serves until the new one is ready.
image["llamacpp"]["ctxSize"] = 2048
endpoint.update(custom_image=image)
assert endpoint.status in ("updating", "running"), endpoint.status
deadline = time.time() + 90
while endpoint.fetch().status != "running":
    assert time.time() < deadline and endpoint.status == "updating", endpoint.status
    time.sleep(0.2)
assert endpoint.raw["model"]["image"]["llamacpp"]["ctxSize"] == 2048
assert endpoint.client.chat_completion([{"role": "user", "content": "Hi"}], max_tokens=4).choices

endpoint.pause()
assert endpoint.status == "paused", endpoint.status
endpoint.resume()
endpoint.wait(timeout=90, refresh_every=1)
endpoint.resume(running_ok=True)
try:
    endpoint.resume(running_ok=False)
    raise AssertionError("resume of a running endpoint must be refused")
except HfHubHTTPError as error:
    assert "already running" in str(error), error

endpoint.scale_to_zero()
assert endpoint.status == "scaledToZero", endpoint.status
# Until its container has ended, the endpoint answers without waking up.
while "stopping" in endpoint.fetch().raw["status"]["message"]:
    time.sleep(0.2)
assert endpoint.client.chat_completion([{"role": "user", "content": "Wake up"}], max_tokens=4).choices
# It serves a moment before its state says so.
endpoint.wait(timeout=30, refresh_every=1)
assert endpoint.status == "running", endpoint.status

endpoint.delete()
try:
    endpoint.fetch()
    raise AssertionError("a deleted endpoint must be gone")
except HfHubHTTPError as error:
    assert error.response.status_code == 404, error
print("all done")
