"""DICOM files <-> pixels in physical units, what the header knows of the patient, and the standard's own mark of synthetic data."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError, Unavailable
from proband.records import mark as marks
from proband.records.images import LARGEST_PIXELS, Images, smallest

SUFFIXES = (".dcm", ".dicom")
HU = "HU"
CT_RANGE = (-1000.0, 2000.0)  # HU from air to dense bone
WARNING = "SYNTHETIC - NOT FOR DIAGNOSIS"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PRIVATE = (0x0099, "PROBAND")  # group and creator of the mark's own attribute
_NO_UNIT = "US"  # unspecified
_BITS_16 = 65_535


@dataclass(frozen=True)
class Slice:
    """One DICOM image: `values` (1, height, width) after the file's own rescaling, white always high.

    low, high   the header's window, or None
    about       what the header knows: patient, sex, age_years, view, modality; None where it is silent
    burned_in   what in the pixels says that they are synthetic, as the mark tells it
    """

    values: np.ndarray
    unit: str
    spacing_mm: tuple[float, float] | None
    low: float | None
    high: float | None
    about: dict[str, Any]
    mark: Mark | None
    burned_in: tuple[str, ...] = ()


def read_dicom(path: Path) -> Slice:
    """One image of a DICOM file. InputError for a file without pixels, with several frames or colours, cut off, encrypted, or compressed
    in a way that nothing installed can undo."""
    where = f"DICOM file '{path}'"
    data = _opened(path, where)
    if "EncryptedAttributesSequence" in data and "PixelData" not in data:
        raise InputError(f"{where} is encrypted: its pixels are in EncryptedAttributesSequence. Decrypt it first.")
    if "PixelData" not in data:
        kind = data.get("SOPClassUID", None)
        raise InputError(f"{where} holds no image ({kind.name if kind else 'unknown kind'}). Take it out of the folder.")
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise InputError(f"{where} has {frames} frames, and an image has one. Split it, or convert it to NIfTI for `read_nifti`.")
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise InputError(
            f"{where} is in colour ({data.get('PhotometricInterpretation')}); grey DICOM is read. Export it as grey, or as PNG."
        )
    if (pixels := int(data.get("Rows", 0)) * int(data.get("Columns", 0))) > LARGEST_PIXELS:
        raise InputError(f"{where} has {pixels:,} pixels; 64 million are read. Cut or shrink it.")
    try:
        stored = data.pixel_array
    except Exception as error:  # as above: what a decoder says depends on the decoder
        syntax = data.file_meta.get("TransferSyntaxUID", None)
        raise InputError(
            f"{where}: its pixels ({syntax.name if syntax else 'unknown transfer syntax'}) cannot be decoded: "
            f"{str(error).splitlines()[0]} Install a decoder (pip install pylibjpeg pylibjpeg-openjpeg), or decompress it (dcmdjpeg)."
        ) from error
    slope, intercept = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
    values = stored.astype(np.float64) * slope + intercept
    low, high = _window(data)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # the lowest value is white
        bits = int(data.get("BitsStored", 16))
        signed = int(data.get("PixelRepresentation", 0))
        ends = (np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]) if signed else np.array([0, 2**bits - 1])) * slope + intercept
        values = ends.sum() - values
        low, high = (None, None) if low is None or high is None else (ends.sum() - high, ends.sum() - low)
    spacing = data.get("PixelSpacing", None) or data.get("ImagerPixelSpacing", None)
    modality = str(data.get("Modality", "")) or None
    return Slice(
        smallest(values)[None],
        HU if modality == "CT" else "" if (unit := str(data.get("RescaleType", ""))) == _NO_UNIT else unit,
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        low,
        high,
        {
            "patient": str(data.get("PatientID", "")) or None,
            "sex": {"F": "F", "M": "M", "O": "O"}.get(str(data.get("PatientSex", ""))),
            "age_years": _years(str(data.get("PatientAge", "") or "")),
            "view": str(data.get("ViewPosition", "")) or None,
            "modality": modality,
        },
        *_mark(data, where),
    )


def dicom_mark(path: Path) -> Mark | None:
    """The mark alone, pixels unread. InputError for a file that cannot be read."""
    where = f"DICOM file '{path}'"
    return _mark(_opened(path, where, stop_before_pixels=True), where)[0]


def write_dicom(path: Path, values: np.ndarray, like: Images, *, mark: Mark | None, patient: str, number: int) -> None:
    """Write one image (1, height, width) of `like`'s units as a Secondary Capture; whole numbers exactly, others by 65,536 levels.

    A synthetic one says so in name, series and comment, and where the standard asks for it: Synthetic Data = YES, and what made it (DCM
    109100, Synthesizing Equipment). Its UIDs follow from mark, patient and pixels alone: the same images give the same bytes. Each real
    one is a study of its own. DICOM PS3.3 C.12.1 (SOP Common), C.8.6 (Secondary Capture).
    """
    _library()
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    stored, slope, intercept = _stored(values[0])
    data = Dataset()
    if mark is not None:
        _label(data, mark, like.burned_in)
    whose = json.dumps(marks.to_text(mark), sort_keys=True) if mark else stored.tobytes()
    data.SOPClassUID, data.SOPInstanceUID = _SECONDARY_CAPTURE, _uid(whose, "image", patient, number, stored.tobytes())
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(whose, "study", patient), _uid(whose, "series", patient)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.Modality, data.ConversionType = "OT", "SYN" if mark else "WSD"
    data.PatientName, data.PatientID = ("SYNTHETIC^" + patient[:50], f"SYN-{patient}"[:64]) if mark else ("", patient[:64])
    data.PatientBirthDate, data.PatientSex = "", ""
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "", "", "1", "", ""
    data.SeriesNumber, data.InstanceNumber, data.PatientOrientation, data.Laterality = 1, number, "", ""
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    bits = 8 * stored.dtype.itemsize
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.RescaleSlope, data.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    data.RescaleType = like.unit or _NO_UNIT
    data.WindowCenter, data.WindowWidth = f"{(like.low + like.high) / 2:.10g}", f"{like.high - like.low:.10g}"
    if like.spacing_mm is not None:
        data.PixelSpacing = [f"{side:.10g}" for side in like.spacing_mm]
    data.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, _uid("implementation")
    meta.ImplementationVersionName = "PROBAND"
    data.file_meta = meta
    data.save_as(path, enforce_file_format=True)


def _label(data: Any, mark: Mark, burned_in: tuple[str, ...]) -> None:
    """What says that an image is synthetic, for people and for machines."""
    from pydicom.dataset import Dataset

    data.SyntheticData = "YES"
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "synthetic, no source subject"
    data.BurnedInAnnotation = "YES" if "stamp" in burned_in else "NO"
    data.StudyDescription = data.SeriesDescription = data.ImageComments = WARNING
    maker, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109100", "DCM", "Synthesizing Equipment"
    maker.PurposeOfReferenceCodeSequence = [purpose]
    maker.Manufacturer, maker.ManufacturerModelName, maker.SoftwareVersions = "proband", mark.synthesizer[:64], mark.version[:64]
    maker.ContributionDescription = "Made these images; they are of nobody"
    told = json.dumps(marks.to_text(mark, burned_in), sort_keys=True)
    maker.private_block(*_PRIVATE, create=True).add_new(1, "UT", told)  # no public text is long
    data.ContributingEquipmentSequence = [maker]


def _opened(path: Path, where: str, **how: bool) -> Any:
    pydicom = _library()
    try:
        return pydicom.dcmread(path, **how)
    except Exception as error:  # pydicom raises whatever its parser stumbles over; every one says the file is no DICOM that can be read
        raise InputError(f"{where} cannot be read: {error}. Copy or export it again, or take it out.") from error


def _library() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise Unavailable("DICOM needs pydicom. Run: pip install 'proband[images]'") from error
    return pydicom


def _window(data: Any) -> tuple[float | None, float | None]:
    """The first window of the header: from where to where it shows."""
    centre, width = data.get("WindowCenter", None), data.get("WindowWidth", None)
    if centre is None or width is None or centre == "" or width == "":
        return None, None
    first = lambda value: float(value[0]) if hasattr(value, "__getitem__") and not isinstance(value, str) else float(value)  # noqa: E731
    half = first(width) / 2
    return (float(f"{first(centre) - half:.9g}"), float(f"{first(centre) + half:.9g}")) if half > 0 else (None, None)


def _years(age: str) -> float | None:
    """DICOM's age strings, such as 045Y, 018M, 003W, 010D, in years.

    >>> _years("018M")
    1.5
    """
    told = re.fullmatch(r"(\d{3})([YMWD])", age.strip())
    return None if told is None else round(int(told[1]) / {"Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}[told[2]], 3)


def _stored(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values as unsigned whole numbers, with slope and intercept that give them back: exactly, unless they are float."""
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(values.dtype.newbyteorder("<")), 1.0, 0.0
    if values.dtype == np.int16:
        return (values.astype(np.int32) + 2**15).astype("<u2"), 1.0, float(-(2**15))
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / _BITS_16 or 1.0
    return np.rint((values.astype(np.float64) - low) / slope).astype("<u2"), slope, low


def _mark(data: Any, where: str) -> tuple[Mark | None, tuple[str, ...]]:
    """The mark and what is burned in, where the file says that it is synthetic; of somebody else's only that it is."""
    if str(data.get("SyntheticData", "")).upper() != "YES":
        return None, ()
    for maker in data.get("ContributingEquipmentSequence", None) or ():
        try:
            content = json.loads(maker.private_block(*_PRIVATE)[1].value)
            return marks.from_text(content, where), marks.burned_in(content)
        except KeyError:  # somebody else's
            continue
        except ValueError as error:
            raise InputError(f"{where} says that it is synthetic, but its mark cannot be read: {error}. Write it anew.") from error
    return marks.UNKNOWN, ()


def _uid(*of: object) -> str:
    """A UID of its own (2.25., of 128 bits) for what it is made of."""
    return f"2.25.{int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:16], 'big')}"
