# metier with its doors. Models and the team are not in the image: they are mounted (compose.yaml), for they change.
FROM python:3.12-slim AS build
ARG EXTRAS=serve,postgres,remote,otel
WORKDIR /source
COPY . .
RUN python -m venv /opt/metier \
 && /opt/metier/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]" \
    "llama-index-vector-stores-qdrant>=0.10"

FROM python:3.12-slim
COPY --from=build /opt/metier /opt/metier
# Whoever runs it may write into the models' volume; nobody needs to be root.
RUN mkdir -m 1777 /models && mkdir -m 1777 /team
ENV PATH=/opt/metier/bin:$PATH METIER_HOME=/models PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /team
VOLUME ["/models"]
EXPOSE 8321
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/health', timeout=4)"]
ENTRYPOINT ["metier"]
CMD ["serve", "--host", "0.0.0.0"]
