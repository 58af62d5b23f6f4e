"""A hub beside Django: one ASGI application has both, and a view publishes.

    pip install fastfan django starlette "uvicorn[standard]"
    uvicorn --app-dir examples django_live:app
    fastpubsub sub ws://127.0.0.1:8000/live/news
    curl -d "hello" http://127.0.0.1:8000/news

In a project of yours, all that is here but for the settings and the view goes into its asgi.py.
"""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.routing import Mount

from pubsub import Hub

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="an example's", ALLOWED_HOSTS=["*"])

hub = Hub()


def publish(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"offset": hub.publish("/news", request.body)})


urlpatterns = [path("news", publish)]

app = Starlette(
    lifespan=hub.lifespan,
    routes=[Mount("/live", hub), Mount("/", get_asgi_application())],
)
