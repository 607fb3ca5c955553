"""Reads the files of one format each; returns what `annotated` describes.

To add a format, copy `labelme`: a module with two functions, named in `formats.FORMATS`.

    is_found(listing) -> str | None      # the evidence, in words, that a folder holds this format
    read(listing, options) -> Annotated # everything in the folder, as `annotated` describes it

`is_found` looks at the content of files (`listing.beginnings`), never at names alone. `read` draws
nothing: it returns shapes in paint order, says in `Picture.left_out` what it leaves out and why,
and collects the faults of files in `Annotated.faults` instead of raising the first. Images are
found with `listing.find_image`. A shape that is wrong in itself is `Broken`, which is an error of
its image. Classes are listed without the background, unless every pixel is labelled
(`has_background=False`). `edge` is the rule of the format's own tool: the samples decide.
"""
