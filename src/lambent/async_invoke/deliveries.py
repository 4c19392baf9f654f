"""Brings what is owed to SQS, SNS, EventBridge, S3 and other functions: tried again while the peer is away."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog

from lambent.async_invoke.consumer import Finished, Later, Verdict
from lambent.async_invoke.dispatches import Dispatch, Kind, parse_dispatch, render_dispatch
from lambent.async_invoke.retry import MAX_AGE_S, backoff_s
from lambent.async_invoke.seams import EventMetrics, Neighbours
from lambent.model.clock import Clock
from lambent.model.errors import CallerError, NeighbourRefusal
from lambent.model.functions import LATEST
from lambent.model.ids import RequestId, Scope, new_uuid
from lambent.model.invocations import InvokeCall, Target
from lambent.store.contract import Delivery

_METRICS: Final[Mapping[Kind, str]] = {
    Kind.ON_SUCCESS: "DestinationDeliveryFailures",
    Kind.ON_FAILURE: "DestinationDeliveryFailures",
    Kind.DEAD_LETTER: "DeadLetterErrors",
}
_DETAIL_TYPES: Final[Mapping[Kind, str]] = {
    Kind.ON_SUCCESS: "Lambda Function Invocation Result - Success",
    Kind.ON_FAILURE: "Lambda Function Invocation Result - Failure",
}

log = structlog.get_logger(__name__)


class Deliveries:
    """Handles what lies in the queues of dispatches."""

    def __init__(
        self,
        neighbours: Neighbours,
        accept: Callable[[InvokeCall], Awaitable[None]],
        metrics: EventMetrics,
        clock: Clock,
    ) -> None:
        self._neighbours, self._accept, self._metrics, self._clock = neighbours, accept, metrics, clock
        self._queue_urls: dict[str, str] = {}

    async def handle(self, delivery: Delivery) -> Verdict:
        """Deliver once. A peer that is away is asked again for six hours (assumed); one that refuses is believed."""
        dispatch = parse_dispatch(delivery.body)
        try:
            await self._deliver(dispatch)
        except NeighbourRefusal as refusal:
            age = self._clock.now() - dispatch.created_at
            if refusal.is_passing and age < timedelta(seconds=MAX_AGE_S):
                body = render_dispatch(replace(dispatch, tries=dispatch.tries + 1))
                log.info("delivery_postponed", arn=dispatch.arn, reason=str(refusal), tries=dispatch.tries + 1)
                return Later(backoff_s(dispatch.tries), body, is_overload=True)
            self._fail(dispatch, refusal)
        except CallerError as error:  # the function that is the destination
            self._fail(dispatch, error)
        return Finished()

    def _fail(self, dispatch: Dispatch, error: Exception) -> None:
        log.warning(
            "delivery_failed",
            kind=str(dispatch.kind),
            arn=dispatch.arn,
            function=dispatch.name,
            request_id=dispatch.request_id,
            reason=str(error),
        )
        self._metrics.record_value(
            _METRICS[dispatch.kind],
            1,
            scope=dispatch.scope,
            function_name=dispatch.name,
            qualifier=dispatch.qualifier,
            at=self._clock.now(),
        )

    async def _deliver(self, dispatch: Dispatch) -> None:
        match dispatch.arn.split(":", 5)[2]:
            case "sqs":
                await self._send_message(dispatch)
            case "sns":
                await self._publish(dispatch)
            case "events":
                await self._put_event(dispatch)
            case "s3":
                await self._put_object(dispatch)
            case "lambda":
                await self._invoke(dispatch)
            case service:
                raise NeighbourRefusal("InvalidDestination", f"{service} is no destination")

    async def _send_message(self, dispatch: Dispatch) -> None:
        if (url := self._queue_urls.get(dispatch.arn)) is None:
            parts = dispatch.arn.split(":")
            owner = {"QueueName": parts[5], "QueueOwnerAWSAccountId": parts[4]}
            url = str((await self._call("sqs", "get_queue_url", dispatch, **owner))["QueueUrl"])
            self._queue_urls[dispatch.arn] = url
        message = {"QueueUrl": url, "MessageBody": dispatch.body.decode(), "MessageAttributes": _attributes(dispatch)}
        if dispatch.trace_header is not None:
            # Recorded from AWS: messages carry the trace header of the invocation.
            trace = {"DataType": "String", "StringValue": dispatch.trace_header}
            message["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
        try:
            await self._call("sqs", "send_message", dispatch, **message)
        except NeighbourRefusal:
            self._queue_urls.pop(dispatch.arn, None)  # it may have been made anew elsewhere
            raise

    async def _publish(self, dispatch: Dispatch) -> None:
        message = {"TopicArn": dispatch.arn, "Message": dispatch.body.decode()}
        await self._call("sns", "publish", dispatch, **message, MessageAttributes=_attributes(dispatch))

    async def _put_event(self, dispatch: Dispatch) -> None:
        # Recorded from AWS: source "lambda", the bus before the function among the resources.
        function = dispatch.scope.arn("lambda", f"function:{dispatch.name}:{dispatch.qualifier or LATEST}")
        entry = {
            "Time": dispatch.created_at,
            "Source": "lambda",
            "DetailType": _DETAIL_TYPES[dispatch.kind],
            "Detail": dispatch.body.decode(),
            "EventBusName": dispatch.arn,
            "Resources": [dispatch.arn, function],
        }
        answer = await self._call("events", "put_events", dispatch, Entries=[entry])
        if answer.get("FailedEntryCount"):
            failed = answer["Entries"][0]
            raise NeighbourRefusal(failed.get("ErrorCode", "Unknown"), failed.get("ErrorMessage", ""))

    async def _put_object(self, dispatch: Dispatch) -> None:
        bucket = dispatch.arn.split(":", 5)[5]
        await self._call(
            "s3", "put_object", dispatch, Bucket=bucket, Key=dispatch.key, Body=dispatch.body,
            ContentType="application/json",
        )  # fmt: skip

    async def _invoke(self, dispatch: Dispatch) -> None:
        call = InvokeCall(
            request_id=RequestId(new_uuid()),
            target=function_of(dispatch.arn),
            payload=dispatch.body,
            # A function of another account has to allow it, as it has to allow any other caller of this account.
            caller_arn=f"arn:{dispatch.scope.partition}:iam::{dispatch.scope.account_id}:root",
            trace_header=dispatch.trace_header,
        )
        await self._accept(call)

    async def _call(self, service: str, operation: str, dispatch: Dispatch, **parameters: Any) -> Mapping[str, Any]:
        # A bucket's ARN names no region: it is asked for where the function is.
        region = dispatch.arn.split(":")[3] or dispatch.scope.region
        scope = Scope(dispatch.scope.account_id, region)
        return await self._neighbours.call(service, operation, scope, parameters)


def function_of(arn: str) -> Target:
    """Return the function that an ARN names."""
    _, _, _, region, account_id, _, name, *qualifier = arn.split(":")
    return Target(Scope(account_id, region), name, qualifier[0] if qualifier else None)


def _attributes(dispatch: Dispatch) -> dict[str, Any]:
    return {each.name: {"DataType": each.kind, "StringValue": each.value} for each in dispatch.attributes}
