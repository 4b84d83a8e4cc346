"""What is known of a customer at the moment."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.door import Door, as_problems, json_answer
from services.scorer.keys import Scope
from services.scorer.problems import Problem
from shared.contracts.transactions import check_id


class Customers(Protocol):
    async def features(self, customer_id: str) -> bytes | None: ...


def add(app: FastAPI, door: Door, customers: Customers) -> None:
    @app.get("/v1/customers/{customer_id:id}/features", **openapi.CUSTOMER)
    async def features(customer_id: str, request: Request) -> Response:
        door.admit(request, Scope.READ)
        with as_problems():
            check_id(customer_id, "customer_id")
            found = await customers.features(customer_id)
        if found is None:
            raise Problem(404, "not-found", "no purchase of this customer is known", field="customer_id")
        return json_answer(found)
