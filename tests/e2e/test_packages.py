"""Functions that bring real packages of PyPI and npm."""

import base64
import io
import json

from . import aws

THUMBNAIL = """
import base64, io
from PIL import Image
def handler(event, context):
    picture = Image.open(io.BytesIO(base64.b64decode(event["picture"])))
    picture.thumbnail((64, 64))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return {"size": picture.size, "png": base64.b64encode(out.getvalue()).decode()}
"""
POWERTOOLS = """
from aws_lambda_powertools import Logger
logger = Logger(service="shop")
@logger.inject_lambda_context
def handler(event, context):
    logger.info("sold", extra={"price": 3})
    return "done"
"""
FASTAPI = """
from fastapi import FastAPI
from mangum import Mangum
app = FastAPI()
@app.get("/items/{item}")
def item(item: int, colour: str = "none"):
    return {"item": item, "colour": colour}
handler = Mangum(app, lifespan="off")
"""


def bitmap(width: int, height: int) -> bytes:
    """Return a BMP picture, which needs no library to make."""
    row = b"\x20\x80\xf0" * width
    row += b"\0" * (-len(row) % 4)
    pixels = row * height
    head = b"BM" + (54 + len(pixels)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    size = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return head + (40).to_bytes(4, "little") + size + b"\x01\0\x18\0" + bytes(24) + pixels


def http_event(path: str, query: str) -> dict:
    """Return an event of an HTTP API, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "example.org", "accept": "*/*"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "api",
            "domainName": "example.org",
            "domainPrefix": "example",
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1795392000000,
        },
        "isBase64Encoded": False,
    }


def test_pillow_makes_a_thumbnail(functions, deploy, from_pypi):
    name = deploy(aws.packed_tree(from_pypi("pillow==11.3.0"), {"app.py": THUMBNAIL}), MemorySize=512, Timeout=10)
    event = {"picture": base64.b64encode(bitmap(320, 200)).decode()}
    for _ in range(2):
        answer = aws.invoke(functions, name, event)
        assert answer.error is None, answer.payload
        png = io.BytesIO(base64.b64decode(answer.payload["png"])).read()
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (64, 40)


def test_powertools_log_in_json_with_the_invocations_facts(functions, deploy, from_pypi, logs):
    name = deploy(aws.packed_tree(from_pypi("aws-lambda-powertools==3.20.0"), {"app.py": POWERTOOLS}), MemorySize=512)
    answer = aws.invoke(functions, name)
    assert answer.payload == "done"
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern='{ $.message = "sold" }')[
        "events"
    ]
    line = json.loads(events[0]["message"])
    assert (line["service"], line["price"], line["level"]) == ("shop", 3, "INFO")
    assert (line["function_name"], line["function_request_id"]) == (name, answer.request_id)
    assert line["cold_start"] is True


def test_fastapi_answers_an_http_event_through_mangum(functions, deploy, from_pypi):
    folder = from_pypi("fastapi==0.116.1", "mangum==0.19.0")
    name = deploy(aws.packed_tree(folder, {"app.py": FASTAPI}), MemorySize=1024, Timeout=10)
    answer = aws.invoke(functions, name, http_event("/items/7", "colour=red"))
    assert answer.error is None, answer.payload
    assert answer.payload["statusCode"] == 200
    assert json.loads(answer.payload["body"]) == {"item": 7, "colour": "red"}
    assert aws.invoke(functions, name, http_event("/items/seven", "")).payload["statusCode"] == 422


def test_an_esm_package_of_npm_is_imported(functions, deploy, from_npm):
    source = "import ms from 'pretty-ms';\nexport const handler = async (event) => ms(event);\n"
    package = aws.packed_tree(from_npm("pretty-ms@9.2.0"), {"index.mjs": source})
    name = deploy(package, runtime=aws.NODE, handler="index.handler")
    assert aws.invoke(functions, name, 1337000000).payload == "15d 11h 23m 20s"
