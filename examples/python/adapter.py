"""An adapter in Python, written from docs/adapter-guide.md alone: a system called "shop" whose records are a dictionary.

    pip install pika
    python examples/python/adapter.py amqp://guest:guest@127.0.0.1 [PREFIX]

Commands on stdin, one a line:  edit s1 name=Fan  ·  list
"""
import json, sys, threading, uuid
import pika

url, prefix = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "syncline"
records, applied = {}, {}  # native id -> record; canonical id -> (epoch, rev, native id)
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()


def publish(message):
    """Hands a message in; returns once RabbitMQ has it. The routing key keeps everything about one record in order."""
    message = {"id": str(uuid.uuid4()), "system": "shop", "type": "device", **message}
    key = f"shop.device.{message['native_id']}"
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    channel.basic_publish(f"{prefix}.inbound", key, json.dumps(message), properties, mandatory=True)


def report(native_id):
    """The whole record, with the last message it had seen when it was read: that makes the comparison exact."""
    base = next((rev for _, rev, known in applied.values() if known == native_id), None)
    publish({"native_id": native_id, "entity": records[native_id], **({"base": base} if base else {})})


def apply(channel, method, _properties, body):
    """Find or create, or update; answered before anything that is read afterwards; never an older message over a newer."""
    message = json.loads(body)
    epoch, rev, native_id = applied.get(message["canonical_id"], (0, 0, message["native_id"]))
    if (message["epoch"], message["rev"]) > (epoch, rev):
        entity = message["entity"]
        same = (known for known, record in records.items() if record.get("serial") == entity.get("serial"))
        native_id = native_id or next(same, None) or f"s{len(records) + 1}"
        records[native_id] = {**entity, "id": native_id}
        applied[message["canonical_id"]] = (message["epoch"], message["rev"], native_id)
    publish({"op": "receipt", "native_id": native_id, "canonical_id": message["canonical_id"], "rev": message["rev"], "status": "applied"})
    channel.basic_ack(method.delivery_tag)


def command(line):
    match line.split():
        case ["list"]:
            print(json.dumps(records, sort_keys=True), flush=True)
        case ["edit", native_id, *fields]:
            records.setdefault(native_id, {"id": native_id}).update(field.split("=", 1) for field in fields)
            report(native_id)


def listen():
    for line in sys.stdin:
        connection.add_callback_threadsafe(lambda line=line: command(line))
    connection.add_callback_threadsafe(channel.stop_consuming)


channel.basic_consume(f"{prefix}.updates.shop", apply)
threading.Thread(target=listen, daemon=True).start()
channel.start_consuming()
connection.close()
