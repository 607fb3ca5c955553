"""Small exports of CVAT, VIA and Datumaro, written as these tools write them."""

import json

from exports import picture

META = """<meta><task><id>7</id><name>t</name><size>9</size><mode>{mode}</mode>
<subset>{subset}</subset><start_frame>0</start_frame><stop_frame>{stop}</stop_frame>
<frame_filter>{filter}</frame_filter>
<labels>{labels}</labels>{more}</task><dumped>2025-10-27</dumped></meta>"""
LABEL = "<label><name>{}</name><color>{}</color><type>any</type><attributes></attributes></label>"
LABELS = (("cat", "#0a141e"), ("dog", "#28323c"))


def cvat(root, images, *, labels=LABELS, name="annotations.xml", size=(20, 30), subset="", more=""):
    """CVAT for images 1.1: `images` is {name: text of the shapes}, or {(subset, name): text}."""
    body = ""
    for number, (key, shapes) in enumerate(images.items()):
        of_image, image = key if isinstance(key, tuple) else ("", key)
        file = root / "images" / of_image / image
        if not file.exists() and ".." not in image:
            picture(file, size)
        attribute = f'subset="{of_image}" ' if of_image else ""
        body += (
            f'<image id="{number}" name="{image}" {attribute}width="{size[1]}" '
            f'height="{size[0]}">{shapes}</image>'
        )
    return _write(root, name, body, "annotation", labels, subset, more)


def cvat_video(root, tracks, *, images=range(3), labels=LABELS, stop=2, step=1, more=""):
    """CVAT for video 1.1: `tracks` is [(label, text of the shapes)]."""
    for number in images:
        picture(root / f"images/frame_{number:06}.PNG")
    body = "".join(
        f'<track id="{n}" label="{label}" source="manual">{shapes}</track>'
        for n, (label, shapes) in enumerate(tracks)
    )
    more += "<original_size><width>30</width><height>20</height></original_size>"
    return _write(root, "annotations.xml", body, "interpolation", labels, "", more, stop, step)


def _write(root, name, body, mode, labels, subset, more, stop=8, step=1):
    entries = "".join(LABEL.format(*label) for label in labels)
    fields = {"mode": mode, "subset": subset, "stop": stop, "filter": f"step={step}"}
    meta = META.format(labels=entries, more=more, **fields)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}'
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}{body}</annotations>", encoding="utf-8")
    return root


def polygon(points, label="cat", **attributes):
    """A polygon of CVAT, from [(x, y)]."""
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return element("polygon", label=label, source="manual", points=text, **attributes)


def element(tag, **attributes):
    """An element of CVAT; its attributes."""
    text = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<{tag} {text}></{tag}>"


def via(root, images, *, name="via_export_json.json", project=None, size=(20, 30), regions=list):
    """VIA: `images` is {name: [(shape attributes, region attributes)]}.

    Args:
        root: The folder.
        images: The images and their regions.
        name: The file.
        project: Region attributes, for a project file.
        size: (height, width) of the images.
        regions: `list` as VIA 2 writes, or `dict` as VIA 1.
    """
    content = {}
    for image, pairs in images.items():
        file = (root / name).parent / image
        if not file.exists() and "/" not in image:
            picture(file, size)
        found = [{"shape_attributes": s, "region_attributes": r} for s, r in pairs]
        if regions is dict:
            found = {str(n): region for n, region in enumerate(found)}
        bytes_ = file.stat().st_size if file.exists() else -1
        content[f"{image}{bytes_}"] = {
            "filename": image,
            "size": bytes_,
            "regions": found,
            "file_attributes": {},
        }
    if project is not None:
        content = {
            "_via_settings": {"core": {"filepath": {}, "default_filepath": ""}},
            "_via_img_metadata": content,
            "_via_attributes": {"region": project, "file": {}},
        }
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root


def via_polygon(points, **attributes):
    """A region of VIA, from [(x, y)]."""
    xs, ys = zip(*points, strict=True)
    return {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}, attributes


def datumaro(root, items, *, subset="train", labels=("cat", "dog"), size=(20, 30), **top):
    """Datumaro: `items` is {id: [annotations]}; an annotation needs only what differs."""
    entries = []
    for number, annotations in items.items():
        image = root / f"images/{subset}/{number}.png"
        if not image.exists():
            picture(image, size)
        entries.append(
            {
                "id": number,
                "annotations": [
                    {"id": n, "attributes": {}, "group": 0, "label_id": 0, "z_order": 0, **a}
                    for n, a in enumerate(annotations)
                ],
                "image": {"path": f"{number}.png", "size": list(size)},
            }
        )
    categories = {
        "label": {
            "labels": [{"name": name, "parent": "", "attributes": []} for name in labels],
            "attributes": [],
        },
        "mask": {
            "colormap": [
                {"label_id": n, "r": 10 * n, "g": 20, "b": 30} for n, _ in enumerate(labels)
            ]
        },
    }
    content = {
        "dm_format_version": "1.0",
        "media_type": 2,
        "infos": {},
        "categories": categories,
        "items": entries,
        **top,
    }
    file = root / f"annotations/{subset}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return root
