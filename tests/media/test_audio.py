"""Sound stays where it was: copied or encoded anew, whole or cut."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from mattebox_media import OutputFormat, open_clip, write_clip

FRAMES = 75  # three seconds; a beep at every half second


@pytest.fixture(scope="module")
def talking_clip(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    return make_video(
        tmp_path_factory.mktemp("audio") / "clip.mp4", range(FRAMES), tone=880, options={"bf": "2", "g": "10"}
    )


def _carry(source: Path, target: Path, start: int, stop: int, chosen: OutputFormat | None = None) -> None:
    with open_clip(source) as reader:
        write_clip(
            target,
            reader.frames(start, stop),
            fps=reader.info.fps,
            audio_from=source,
            audio_start=reader.times(start, start + 1)[0],
            format=chosen,
        )


@pytest.mark.parametrize("name", ["take.mp4", "take.mov", "take.mkv"])
@pytest.mark.parametrize(("start", "stop"), [(0, FRAMES), (7, 60)])
def test_beeps_stay_on_their_pictures(
    name: str,
    start: int,
    stop: int,
    talking_clip: Path,
    tmp_path: Path,
    beep_onsets: Callable[[Path], list[float]],
) -> None:
    _carry(talking_clip, tmp_path / name, start, stop)
    begin, end = start / 25, stop / 25
    expected = [beat / 2 - begin for beat in range(6) if begin < beat / 2 < end - 0.05]
    found = [onset for onset in beep_onsets(tmp_path / name) if onset > 0.02]
    assert len(found) == len(expected)
    assert np.allclose(found, expected, atol=0.004)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        sound, picture = container.streams.audio[0], container.streams.video[0]
        if sound.duration is not None and sound.time_base is not None:
            assert sound.duration * sound.time_base < (stop - start) / 25 + 0.1
        assert picture.frames in (0, stop - start)


def _retone(source: Path, target: Path, codec: str) -> Path:
    """The same clip with its sound in another codec."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        picture = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream(codec, rate=48000)
        sound.codec_context.layout = "mono"
        for packet in old.demux(old.streams.video[0], old.streams.audio[0]):
            if packet.stream.type == "video":
                if packet.dts is not None:
                    packet.stream = picture
                    new.mux(packet)
                continue
            for frame in packet.decode():
                new.mux(sound.encode(frame))
        new.mux(sound.encode(None))
    return target


@pytest.mark.parametrize(
    ("codec", "name", "expected"),
    [
        ("pcm_s16le", "take.mp4", "aac"),
        ("pcm_s16le", "take.mov", "pcm_s16le"),
        ("pcm_s16le", "take.mkv", "pcm_s16le"),
        ("flac", "take.mov", "pcm_s24le"),
        ("pcm_f64le", "take.mkv", "flac"),
    ],
)
def test_sound_is_encoded_anew_only_where_the_container_needs_it(
    codec: str,
    name: str,
    expected: str,
    talking_clip: Path,
    tmp_path: Path,
    beep_onsets: Callable[[Path], list[float]],
) -> None:
    source = _retone(talking_clip, tmp_path / "source.mkv", codec)
    _carry(source, tmp_path / name, 10, 60)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.audio[0].codec_context.name == expected
    found = [onset for onset in beep_onsets(tmp_path / name) if onset > 0.02]
    assert np.allclose(found, [0.1, 0.6, 1.1, 1.6], atol=0.004)


def test_sound_that_no_decoder_knows_is_left_out(talking_clip: Path, tmp_path: Path) -> None:
    source = _retone(talking_clip, tmp_path / "source.mkv", "pcm_s16le")
    data = source.read_bytes()
    assert data.count(b"A_PCM/INT/LIT") == 1
    source.write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_PCX/INT/LIT"))
    with av.open(str(source)) as container:
        assert container.streams.audio[0].codec_context is None
    _carry(source, tmp_path / "take.mp4", 10, 20)
    with open_clip(tmp_path / "take.mp4") as reader:
        assert (reader.info.frame_count, reader.info.has_audio) == (10, False)


def test_a_damaged_packet_of_sound_is_a_silence(
    talking_clip: Path, tmp_path: Path, beep_onsets: Callable[[Path], list[float]]
) -> None:
    source = _retone(talking_clip, tmp_path / "source.mkv", "flac")
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    damaged = next(packet for packet in packets[1:] if data.count(packet) == 1)
    at = data.index(damaged)
    data[at : at + len(damaged)] = b"\xff" * len(damaged)
    source.write_bytes(data)
    with av.open(str(source)) as container, pytest.raises(av.error.InvalidDataError):
        list(container.decode(audio=0))
    _carry(source, tmp_path / "take.mov", 0, FRAMES)
    found = [onset for onset in beep_onsets(tmp_path / "take.mov") if onset > 0.02]
    assert np.allclose(found[-4:], [1, 1.5, 2, 2.5], atol=0.004)


def test_a_clip_without_sound_is_written_without_sound(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    silent = make_video(tmp_path / "silent.mp4", range(5))
    _carry(silent, tmp_path / "take.mp4", 0, 5)
    with open_clip(tmp_path / "take.mp4") as reader:
        assert not reader.info.has_audio
        assert reader.info.frame_count == 5


def test_a_picture_sequence_leaves_the_sound_out(talking_clip: Path, tmp_path: Path) -> None:
    _carry(talking_clip, tmp_path / "out" / "%03d.png", 3, 6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "001.png", "002.png"]


def test_sound_can_come_from_a_sound_file(tmp_path: Path, beep_onsets: Callable[[Path], list[float]]) -> None:
    from wave import open as open_wave

    time = np.arange(96000) / 48000
    wave = np.where(time % 0.5 < 0.05, 0.5 * np.sin(2 * np.pi * 880 * time), 0)
    with open_wave(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes((wave * 32767).astype("<i2").tobytes())
    frames = [np.zeros((64, 64, 3), np.uint8)] * 25
    write_clip(
        tmp_path / "take.mp4",
        frames,
        fps=Fraction(25),
        audio_from=tmp_path / "sound.wav",
        audio_start=Fraction(1, 4),
    )
    assert np.allclose(beep_onsets(tmp_path / "take.mp4"), [0.25, 0.75], atol=0.004)
