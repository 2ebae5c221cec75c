"""A CMSIS-Pack, by PACK.xsd of Open-CMSIS-Pack: one component with the header, and a template for the project that uses it."""

FILES = {
    "edge-lstm.{name}.pdsc": "cmsis_pack/pack.pdsc.j2",
    "README.md": "cmsis_pack/README.md.j2",
    "include/{name}.h": "header",
    "template/classifier.h": "shared/classifier.h.j2",
    "template/classifier.c": "shared/classifier.c.j2",
}
