"""What Frigate says over MQTT of an event, https://docs.frigate.video/integrations/mqtt#frigateevents

The fields are those of `to_dict` in frigate/object_processing.py (0.14) and frigate/track/tracked_object.py (0.16 on).
"""

from __future__ import annotations

import json
from typing import Any

from frigate_s3_mirror.demo.simulated_event import SimulatedEvent

TOPIC = "frigate/events"
_BOX, _REGION = [424, 500, 536, 712], [264, 450, 667, 853]


def message(event: SimulatedEvent, kind: str, frame_time: float, version: str = "0.17", **more: object) -> str:
    """The JSON of one message.

    Args:
        event: as it is now.
        kind: "new" (the first that is no false positive), "update" or "end".
        frame_time: when the frame of its best picture was taken.
        version: Frigate's.
        more: fields of `after` that are to be otherwise.
    """
    after = {**tracked(event, frame_time, version), **more}
    if kind != "end":
        after["end_time"] = more.get("end_time")
    before = {**after, "end_time": None}
    if kind == "new":  # what it was before Frigate believed in it
        before |= {"false_positive": True, "has_snapshot": False, "has_clip": False, "snapshot": None}
    return json.dumps({"before": before, "after": after, "type": kind})


def tracked(event: SimulatedEvent, frame_time: float, version: str) -> dict[str, Any]:
    """An object that Frigate tracks."""
    number = tuple(int(part) for part in version.split("."))
    fields: dict[str, Any] = {
        "id": event.id, "camera": event.camera, "frame_time": frame_time, "snapshot": _picture(frame_time, number),
        "label": event.label, "sub_label": None if event.sub_label is None else [event.sub_label, 0.91],
        "top_score": 0.8, "false_positive": False, "start_time": event.start_time, "end_time": event.end_time,
        "score": 0.7, "box": _BOX, "area": 23744, "ratio": 0.53, "region": _REGION, "stationary": False,
        "motionless_count": 0, "position_changes": 2, "current_zones": [], "entered_zones": [],
        "has_clip": True, "has_snapshot": event.has_snapshot, "attributes": {}, "current_attributes": [],
    }  # fmt: skip
    if number >= (0, 16):
        fields |= {
            "active": True, "pending_loitering": False, "max_severity": "alert", "current_estimated_speed": 0,
            "average_estimated_speed": 0, "velocity_angle": 0, "path_data": [], "recognized_license_plate": None,
        }  # fmt: skip
    if number >= (0, 18):
        fields |= {"snapshot_clean": True, "computed_score": 0.75}
    return fields


def _picture(frame_time: float, number: tuple[int, ...]) -> dict[str, Any]:
    """The best picture of it so far."""
    fields: dict[str, Any] = {
        "frame_time": frame_time, "box": _BOX, "area": 23744, "region": _REGION, "score": 0.8, "attributes": [],
    }  # fmt: skip
    if number >= (0, 16):
        fields |= {
            "current_estimated_speed": 0, "velocity_angle": 0, "path_data": [], "recognized_license_plate": None,
            "recognized_license_plate_score": None,
        }  # fmt: skip
    return fields
